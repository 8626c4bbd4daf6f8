"""The policy updates of one rollout in one process. They equal the pipeline's, without engine, ranks or micro-batch divisors.

The loss is the host's (clip, dual clip) with the weights of deltal_openrlhf/aggregation.py. The optimizer, its parameter groups and the
learning-rate schedule are those that the host requests from DeepSpeed. tests/comparison/test_compare_loop.py compares the result with the
real trainer.
"""

from dataclasses import dataclass

import torch
from openrlhf.models import PolicyLoss
from openrlhf.utils.deepspeed.deepspeed_utils import get_optimizer_grouped_parameters
from torch import Tensor
from transformers import PreTrainedModel

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.comparison.response_log_probs import response_log_probs
from deltal_openrlhf.host.metrics import StepStatistics
from deltal_openrlhf.host.policy_loss import ResponseWeightedPolicyLoss
from deltal_openrlhf.host.schedule import learning_rate_schedule
from deltal_openrlhf.host.settings import LossSettings
from deltal_openrlhf.models import memory

MOST_TOKENS = {"cpu": 1024, "cuda": 32_768}
"""The most padded tokens of a forward pass of whole rows, where memory allows. The update does not depend on it. On a CPU small passes are
fastest, for they stay in the cache; on a GPU larger ones are no faster."""


@dataclass
class Rollout:
    """The responses of one rollout batch. Those to one prompt follow one another.

    sequences: token ids of prompt and response. prompt_lengths: tokens of the prompts. lengths: [N], trained tokens L_i, 0 for a filtered
    response. advantages: [N], one for all tokens of a response.
    """

    sequences: list[list[int]]
    prompt_lengths: list[int]
    lengths: Tensor
    advantages: Tensor


class PolicyUpdater:
    """Model, optimizer and schedule of one run. total_steps: optimizer steps of the whole run, for the schedule."""

    def __init__(self, model: PreTrainedModel, args: Arguments, settings: LossSettings, total_steps: int) -> None:
        self.model, self.args, self.settings = model, args, settings
        adam = args.actor.adam
        for parameter in model.parameters():
            # Without one AdamW passes a parameter over and does not count the step; the pipeline counts all steps, with or without signal.
            parameter.grad = torch.zeros_like(parameter)
        if args.deltal.sgd:
            self.optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), lr=adam.lr)
        else:
            groups = get_optimizer_grouped_parameters(model, adam.weight_decay)
            self.optimizer = torch.optim.AdamW(groups, lr=adam.lr, betas=(adam.betas[0], adam.betas[1]), eps=adam.eps)
        # AdamW makes its two averages in the first step; the gradients are there.
        state = 0 if args.deltal.sgd else 8 * sum(parameter.numel() for parameter in model.parameters())
        self._budget = memory.SAFETY * (memory.free_bytes(model.device) - state)
        self._pass = memory.TrainingPass(model)
        self.schedule = learning_rate_schedule(args.actor, total_steps, self.optimizer)
        low, high = args.actor.eps_clip_low_high or (args.actor.eps_clip,) * 2
        self.loss = ResponseWeightedPolicyLoss(
            PolicyLoss(clip_eps_low=low, clip_eps_high=high, dual_clip=args.actor.dual_clip)
        )

    def update(self, rollout: Rollout, orders: list[list[int]]) -> dict[str, float]:
        """All optimizer steps of a rollout. orders: for each epoch its responses in the order in which they are trained on.

        Returns metrics under the host's names. Raises RuntimeError if the loss or the gradient is not finite.
        """
        size = self.args.train.batch_size
        steps = [order[i : i + size] for order in orders for i in range(0, len(order), size)]
        aggregation = self.settings.aggregation
        groups = torch.arange(len(rollout.lengths)) // self.args.rollout.n_samples_per_prompt
        means = aggregation.scope_means(rollout.lengths, groups, rollout.advantages)
        # A response of advantage 0 gives no gradient: its length counts in the weights, its tokens need no pass.
        silent = set((rollout.advantages == 0).nonzero()[:, 0].tolist())
        # Before the first update they are what the update's own pass computes.
        old = self._old_log_probs(rollout, silent) if len(steps) > 1 else None
        statistics = StepStatistics()
        tokens = clipped = kl = 0.0
        for rows in steps:
            weights = aggregation.weights(rollout.lengths[rows], scope_means=None if means is None else means[rows])
            statistics.add_weights(weights, self.settings.max_length)
            taken = [(row, x) for row, x in zip(rows, weights.tolist(), strict=True) if x > 0 and row not in silent]
            self.optimizer.zero_grad(set_to_none=False)
            for part in self._micro_batches(rollout, [row for row, _ in taken]):
                x = dict(taken)
                count, ratio, divergence = self._backward(rollout, part, [x[row] for row in part], old)
                tokens, clipped, kl = tokens + count, clipped + ratio * count, kl + divergence * count
            self._step(statistics, skip=not bool(weights.any()))
        return {
            "ppo_clip_ratio": clipped / max(tokens, 1),
            "ppo_kl": kl / max(tokens, 1),
            "actor_lr": float(self.schedule.get_last_lr()[0]),
            **statistics.summary(),
        }

    def _micro_batches(self, rollout: Rollout, rows: list[int]) -> list[list[int]]:
        """Group rows of similar length into passes, so that there is little padding. A row that does not fit into any pass gets its own."""
        parts: list[list[int]] = []
        for row in sorted(rows, key=lambda row: len(rollout.sequences[row])):
            if parts and self._fits(len(parts[-1]) + 1, len(rollout.sequences[row])):
                parts[-1].append(row)
            else:
                parts.append([row])
        return parts

    def _fits(self, rows: int, longest: int) -> bool:
        return rows * longest <= MOST_TOKENS[self.model.device.type] and self._pass.bytes(rows, longest) <= self._budget

    def _log_probs(self, rollout: Rollout, rows: list[int]) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the responses' tokens, and where there are any: [rows, R] each."""
        cuts = [rollout.prompt_lengths[row] for row in rows]
        prompts = [rollout.sequences[row][:cut] for row, cut in zip(rows, cuts, strict=True)]
        responses = [rollout.sequences[row][cut:] for row, cut in zip(rows, cuts, strict=True)]
        found = response_log_probs(self.model, prompts, responses, self.args.rollout.temperature)
        lengths = torch.tensor([len(response) for response in responses], device=found.device)
        return found, torch.arange(found.shape[1], device=found.device) < lengths[:, None]

    @torch.no_grad()
    def _old_log_probs(self, rollout: Rollout, silent: set[int]) -> dict[int, Tensor]:
        rows = [row for row in range(len(rollout.sequences)) if row not in silent]
        found = {}
        for part in self._micro_batches(rollout, rows):
            log_probs, mask = self._log_probs(rollout, part)
            found.update({row: log_probs[i][mask[i]] for i, row in enumerate(part)})
        return found

    def _backward(
        self, rollout: Rollout, rows: list[int], weights: list[float], old: dict[int, Tensor] | None
    ) -> tuple[float, float, float]:
        """Add the rows' gradient. Returns their tokens, the share of them that was clipped, and the divergence from the old policy."""
        log_probs, mask = self._log_probs(rollout, rows)
        before = log_probs.detach()
        if old is not None:
            before = torch.nn.utils.rnn.pad_sequence([old[row] for row in rows], batch_first=True)
        advantages = rollout.advantages[rows].to(log_probs)[:, None].expand_as(log_probs)
        self.loss.weights = torch.tensor(weights, device=log_probs.device)
        one = torch.ones((), device=log_probs.device)
        loss, ratio, kl, _, _ = self.loss(log_probs, before, advantages, mask, batch_num_tokens=one)
        if not bool(torch.isfinite(loss)):
            raise RuntimeError(f"the loss is {loss.item()}; stopped before the optimizer step")
        loss.backward()
        return mask.sum().item(), ratio.item(), kl.item()

    def _step(self, statistics: StepStatistics, skip: bool) -> None:
        """One optimizer step. A step without any response left advances the schedule only."""
        limit = self.args.actor.max_norm
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
        if not bool(torch.isfinite(norm)):
            raise RuntimeError("the gradient norm is inf or nan; stopped before the optimizer step")
        statistics.add_update(norm.item(), limit, skipped=skip)
        if not skip:
            if limit > 0:
                torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), limit, norm)
            self.optimizer.step()
        self.schedule.step()
