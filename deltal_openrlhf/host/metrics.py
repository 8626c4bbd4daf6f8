"""The metrics that this package logs next to the host's, under deltal/: weights and updates of a PPO step, lengths of a rollout batch."""

from dataclasses import dataclass, field

from torch import Tensor

EQUAL_REWARDS = 1e-6
"""Standard deviation of a group's rewards below which they are equal: that of eight times 0.1 is 8e-9 in float32."""


@dataclass
class StepStatistics:
    """What one ppo_train logs, as means over its optimizer steps."""

    weight_sum_x_m: list[float] = field(default_factory=list)
    ess: list[float] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)
    clipped: list[float] = field(default_factory=list)
    steps: int = 0
    skipped: int = 0

    def add_weights(self, weights: Tensor, max_length: float) -> None:
        """weights: [num_responses], x_i of the whole optimizer step."""
        total, squares = weights.sum().item(), weights.square().sum().item()
        self.steps += 1
        if squares:
            self.weight_sum_x_m.append(total * max_length)
            self.ess.append(total**2 / squares)

    def add_update(self, norm: float | None, max_norm: float, *, skipped: bool) -> None:
        """norm: of the gradient before clipping, None where there is none to log. max_norm: where it is clipped, 0 for nowhere."""
        self.skipped += skipped
        if norm is not None:
            self.grad_norm.append(norm)
            self.clipped.append(float(0 < max_norm < norm))

    def summary(self) -> dict[str, float]:
        """The metrics, by name. 0 for a mean over nothing."""

        def mean(values: list[float]) -> float:
            return sum(values) / len(values) if values else 0.0

        return {
            "deltal/weight_sum_x_M": mean(self.weight_sum_x_m),
            "deltal/weight_sum_x_M_min": min(self.weight_sum_x_m, default=0.0),
            "deltal/weight_sum_x_M_max": max(self.weight_sum_x_m, default=0.0),
            "deltal/ess": mean(self.ess),
            "deltal/grad_norm": mean(self.grad_norm),
            "deltal/clip_share": mean(self.clipped),
            "deltal/optimizer_steps": float(self.steps - self.skipped),
            "deltal/skipped_steps": float(self.skipped),
        }


def length_metrics(lengths: Tensor, trained: Tensor, reward_spread: Tensor | None) -> dict[str, float]:
    """The metrics of one rollout batch, by name.

    lengths: [num_responses], sampled tokens. trained: [num_responses], the tokens that are trained on, 0 for a filtered response.
    reward_spread: [num_responses], standard deviation of the rewards of each response's group; None where the host computes none.
    """
    exact = lengths.double()
    metrics = {
        "deltal/response_length_mean": exact.mean().item(),
        "deltal/response_length_p50": exact.quantile(0.5).item(),
        "deltal/response_length_p95": exact.quantile(0.95).item(),
        "deltal/response_length_max": exact.max().item(),
        "deltal/filtered_share": ((lengths > 0) & (trained == 0)).double().mean().item(),
    }
    if reward_spread is not None:
        metrics["deltal/groups_without_signal"] = (reward_spread < EQUAL_REWARDS).double().mean().item()
    return metrics
