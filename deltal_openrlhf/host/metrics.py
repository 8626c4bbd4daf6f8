"""The metrics of a PPO step: those that this package logs under deltal/, and the host's own, corrected to be true means.

The host reports every micro batch's share of the optimizer step's loss and averages the shares by tokens. Dynamic batches are accumulated
undivided, so the logged loss, KL and entropy are too small by the number of micro batches. The KL that drives its adaptive coefficient is
too small in the same way (verl#5072). With micro batches of different length, shares weighted by tokens are not means either.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

EQUAL_REWARDS = 1e-6
"""Standard deviation of a group's rewards below which they are equal: that of eight times 0.1 is 8e-9 in float32."""


SHARES = ("policy_loss", "kl", "entropy_loss")
"""What a micro batch reports as its share of the optimizer step."""
TRAINED_ONLY = frozenset(("ppo_clip_ratio", "ppo_kl", "vllm_kl", "is_filter_ratio"))
"""Means over the tokens that the policy loss takes: without the filtered responses, which the host's token counts hold."""


@dataclass
class StepStatistics:
    """The logs of one ppo_train, as means over its optimizer steps."""

    weight_sum_x_m: list[float] = field(default_factory=list)
    ess: list[float] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)
    clipped: list[float] = field(default_factory=list)
    steps: int = 0
    skipped: int = 0
    tokens: float = 0.0
    trained_tokens: float = 0.0
    trained_responses: float = 0.0

    def add_counts(self, lengths: Tensor, trained: Tensor) -> None:
        """lengths, trained: [num_responses] in tokens, of the whole optimizer step; trained is 0 for a filtered response."""
        self.tokens += lengths.sum().item()
        self.trained_tokens += trained.sum().item()
        self.trained_responses += (trained > 0).sum().item()

    def over_trained(self, status: Mapping[str, Any], *, by_response: bool) -> dict[str, Any]:
        """The host's averages over all tokens, with TRAINED_ONLY over those that were trained on.

        by_response: whether is_filter_ratio is a mean over responses (--algo.advantage.is_correction_level seq).
        """
        units = dict.fromkeys(TRAINED_ONLY, self.trained_tokens)
        if by_response:
            units["is_filter_ratio"] = self.trained_responses
        scales = {name: self.tokens / number if number else 0.0 for name, number in units.items()}
        return {name: value * scales.get(name, 1.0) for name, value in status.items()}

    def add_weights(self, weights: Tensor, max_length: float) -> None:
        """weights: [num_responses], x_i of the whole optimizer step."""
        total, squares = weights.sum().item(), weights.square().sum().item()
        self.steps += 1
        if squares:
            self.weight_sum_x_m.append(total * max_length)
            self.ess.append(total**2 / squares)

    def add_update(self, norm: float | None, max_norm: float, *, skipped: bool) -> None:
        """norm: that of the gradient before clipping, None if there is none to log. max_norm: the norm at which it is clipped, 0 for no
        clipping.
        """
        self.skipped += skipped
        if norm is not None:
            self.grad_norm.append(norm)
            self.clipped.append(float(0 < max_norm < norm))

    def summary(self) -> dict[str, float]:
        """The metrics, by name. A mean over nothing is 0."""

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


def make_averageable(
    status: dict, counts: Mapping[str, Any], lengths: Tensor, trained: Tensor, *, by_response: bool
) -> None:
    """Change a micro batch's status in place, so that the host's average by tokens is the mean over all micro batches and ranks.

    SHARES become means over the micro batch's tokens. After averaging, KL and entropy are means over all tokens. The policy loss is then
    the mean of the optimizer steps' losses, each weighted by its tokens. TRAINED_ONLY become sums per token, trained or not;
    StepStatistics.over_trained divides their average by the trained tokens.

    status: as ActorPPOTrainer.training_step returns it. counts: the host's loss_batch_info of the micro batch. lengths, trained:
    [num_responses], its tokens without and with filtering. by_response: as over_trained's.
    """
    metrics, kinds = status["metrics"], status["weights"]
    tokens = lengths.sum().clamp(min=1)
    for name in SHARES:
        if kinds.get(name) == "token":  # a KL in the reward is a mean over responses
            metrics[name] = metrics[name] * (counts["batch_num_tokens"] / (counts["dp_size"] * tokens))
    for name in TRAINED_ONLY & metrics.keys():
        total = metrics[name] * trained.sum()
        if by_response and name == "is_filter_ratio":
            # The host counts a response without a trained token as dropped.
            total = metrics[name] * len(trained) - (trained == 0).sum()
        metrics[name] = total / tokens


def length_metrics(lengths: Tensor, trained: Tensor, reward_spread: Tensor | None) -> dict[str, float]:
    """The metrics of one rollout batch, by name.

    lengths: [num_responses], sampled tokens. trained: [num_responses], trained tokens, 0 for a filtered response. reward_spread:
    [num_responses], standard deviation of the rewards of each response's group; None if the host computes none.
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
