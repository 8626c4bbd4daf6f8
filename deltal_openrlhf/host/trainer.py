"""The host's ActorPPOTrainer with weights over the whole optimizer step, and with guards against its faults.

An optimizer step's responses are spread over micro batches and data-parallel ranks. So the lengths of all its responses are gathered once,
before its first micro batch, and `Aggregation.weights` gives every response its weight. From then on a micro batch only needs its own rows.
However the step is cut, the weights are the same.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
from openrlhf.trainer.ppo_utils.experience import Experience
from openrlhf.trainer.ray import ppo_actor
from openrlhf.utils.logging_utils import init_logger
from peft import PeftModel
from torch import Tensor
from torch.utils.data import DataLoader

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host.collectives import everyones, largest
from deltal_openrlhf.host.lora import merged_parameters
from deltal_openrlhf.host.metrics import make_averageable
from deltal_openrlhf.host.policy_loss import ResponseWeightedPolicyLoss
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.scope_means import ALPHA_KEY, SCOPE_MEAN_KEY, trained_lengths
from deltal_openrlhf.host.settings import LossSettings
from deltal_openrlhf.host.strategy import DeltaLStrategy, StepContext
from deltal_openrlhf.host.weight_buckets import BucketedTrainer
from deltal_openrlhf.statistics.seeds import seed_of

logger = init_logger(__name__)

# The host divides metrics by counts; a micro batch without responses or tokens counts this much instead of 0.
NO_COUNT = 1e-9


def check_every_rank_has_responses(number: int, group: dist.ProcessGroup | None = None) -> None:
    """Raise RuntimeError on all ranks of the group if one of them has no responses. number: responses of this rank."""
    if largest(int(number == 0), group):
        raise RuntimeError(
            "a short rollout left a rank without any response; use a --data.max_samples that fills the last one"
        )


class DeltaLActorTrainer(BucketedTrainer):
    """The trainer of one training worker."""

    args: Arguments
    strategy: DeltaLStrategy
    actor_loss_fn: ResponseWeightedPolicyLoss

    def __init__(self, strategy: DeltaLStrategy, *args: Any, **kwargs: Any) -> None:
        super().__init__(strategy, *args, **kwargs)
        self.settings = LossSettings.from_args(self.args)
        self.actor_loss_fn = ResponseWeightedPolicyLoss(self.actor_loss_fn)
        # Micro batches per optimizer step by which DeepSpeed divides the loss. Dynamic batches are accumulated undivided.
        self.loss_divisor = 1 if self.args.train.dynamic_batch_enable else max(int(strategy.accumulated_gradient), 1)
        self._correction_by_response = self.args.algo.advantage.is_correction_level == "seq"
        self.context = StepContext()
        self._weights: deque[Tensor] = deque()
        strategy.guard_gradient_norm(self.actor)
        if self.ema_model is not None:
            strategy.start_average(self.ema_model)

    def ppo_train(self, kl_ctl: float) -> dict:
        self.context = self.strategy.context = StepContext()
        self._weights.clear()
        # The host shuffles by torch's own generator. From the steps taken, so that a resumed run takes the same ones.
        torch.manual_seed(seed_of(self.strategy.seed, "updates", self.actor_scheduler.last_epoch))
        with rebound(ppo_actor, "iter_grad_accum_global_norm", self._iter_optimizer_steps):
            status = super().ppo_train(kl_ctl)
        if self.args.train.dynamic_batch_enable:
            left_out = len(self.replay_buffer.items) - sum(map(len, self.replay_buffer.dynamic_indices))
            if left_out:
                logger.warning(
                    f"short rollout on rank {dist.get_rank()}: {left_out} responses left out because they do not fill an optimizer step"
                )
        statistics = self.context.statistics
        return {**statistics.over_trained(status, by_response=self._correction_by_response), **statistics.summary()}

    def training_step(
        self, experience: Experience, kl_ctl: float, step: int, loss_batch_info: dict | None = None
    ) -> dict:
        if self.args.train.dynamic_batch_enable and (step == 0 or self.replay_buffer.dynamic_optimizer_step[step - 1]):
            self._begin_dynamic_step(step)
        for key in (SCOPE_MEAN_KEY, ALPHA_KEY):
            experience.info.pop(key, None)
        weights = self._weights.popleft().to(experience.action_mask.device) if self._weights else None
        if weights is None or len(weights) != len(experience.action_mask):
            raise RuntimeError(
                "a micro batch reached the loss without its response weights: the host's iteration changed"
            )
        self.actor_loss_fn.weights = weights if self.settings.weighted else None
        self.context.begin_micro_batch(experience.prompts)
        self.actor_loss_fn.called = False
        is_padding = not experience.prompts
        mask = experience.action_mask
        # The host asks for the counts of a dynamic batch itself, unless it has them.
        counts = loss_batch_info or ppo_actor.get_loss_batch_info(
            self.strategy, mask, replay_buffer=self.replay_buffer, step=step, dynamic_batch=True
        )
        with rebound(self, "aux_loss", self.aux_loss and not is_padding):
            status = super().training_step(experience, kl_ctl, step, counts)
        if not self.actor_loss_fn.called:
            raise RuntimeError("the host's training step did not use this package's policy loss: the host changed")
        trained = trained_lengths(mask, experience.truncated, self.settings)
        make_averageable(status, counts, mask.sum(-1), trained, by_response=self._correction_by_response)
        return _countable(status, is_padding=is_padding)

    def broadcast_to_vllm(self) -> None:
        module = self.actor.model.module
        if not isinstance(module, PeftModel):
            super().broadcast_to_vllm()
            return
        with rebound(module, "named_parameters", lambda: merged_parameters(module)):
            super().broadcast_to_vllm()

    # ── The weights of one optimizer step ──

    def _iter_optimizer_steps(
        self, data_iter: DataLoader, strategy: DeltaLStrategy, accumulated_gradient: int, mask_fn: Callable
    ) -> Iterator[tuple[Experience, dict]]:
        """The host's iter_grad_accum_global_norm, one optimizer step at a time, with the step's weights computed before it starts."""
        micro_batches = iter(self._complete_steps(data_iter, self.loss_divisor))
        while window := list(islice(micro_batches, self.loss_divisor)):
            self._begin_step(window)
            yield from zip(window, step_counts(window, strategy, mask_fn), strict=True)

    def _complete_steps(self, data_iter: DataLoader, steps_of: int) -> Iterable[Experience]:
        """The micro batches, filled up with empty ones so that every rank has the same number and every optimizer step is whole.

        Without, DeepSpeed would carry the gradients of an incomplete step into every later one, and ranks with fewer micro batches
        would leave the others waiting. Only a rollout that is shorter than asked for (the last one of an episode) needs it.
        """
        local = len(data_iter)
        needed = math.ceil(largest(local) / steps_of) * steps_of
        if needed:
            check_every_rank_has_responses(len(self.replay_buffer))
        left_out = len(self.replay_buffer) - local * self.replay_buffer.sample_batch_size
        if left_out or needed > local:
            logger.warning(
                f"short rollout on rank {dist.get_rank()}: {needed - local} empty micro batches added so that optimizer steps stay "
                f"whole, {left_out} responses left out because they do not fill a micro batch"
            )
        yield from data_iter
        for _ in range(needed - local):
            yield self._empty_micro_batch()

    def _empty_micro_batch(self) -> Experience:
        experience = self.replay_buffer.collate_fn(self.replay_buffer.items[:1])
        experience.action_mask = torch.zeros_like(experience.action_mask)
        experience.prompts = []  # how _countable tells it from real responses
        return experience

    def _begin_step(self, window: list[Experience]) -> None:
        self._set_weights([self._rows(e.action_mask, e.truncated, e.info) for e in window])

    def _begin_dynamic_step(self, step: int) -> None:
        buffer = self.replay_buffer
        end = buffer.dynamic_optimizer_step.index(1, step)
        micro_batches = []
        for indices in buffer.dynamic_indices[step : end + 1]:
            rows = []
            for item in (buffer.items[i] for i in indices):
                truncated = None if item.truncated is None else item.truncated.reshape(1)
                rows.append(self._rows(item.action_mask[None], truncated, item.info))
            micro_batches.append(torch.cat(rows, dim=1))
        # An optimizer step without one trained token would be 0 / 0 in the host's KL and entropy means.
        for counts in (buffer.dynamic_batch_num_tokens, buffer.dynamic_global_batch_size):
            counts[step : end + 1] = [max(n, 1.0) for n in counts[step : end + 1]]
        self._set_weights(micro_batches)

    def _rows(self, action_mask: Tensor, truncated: Tensor | None, info: Mapping[str, Any]) -> Tensor:
        """What the weights depend on, float64 [4, num_responses] on the CPU: L_i, tokens before filtering, scope mean, alpha in force.

        info: of these responses; a value that the driver did not send is 0 here.
        """
        tokens, lengths = action_mask.sum(-1), trained_lengths(action_mask, truncated, self.settings)
        sent = [
            torch.as_tensor(info.get(key, 0.0)).reshape(-1).expand(len(tokens)) for key in (SCOPE_MEAN_KEY, ALPHA_KEY)
        ]
        return torch.stack([values.double().cpu() for values in (lengths, tokens, *sent)])

    def _set_weights(self, micro_batches: list[Tensor]) -> None:
        """From the rows of every local micro batch: gather the other ranks', compute all weights once, keep ours."""
        local, group = torch.cat(micro_batches, dim=1), self.strategy.ds_device_mesh["dp"].get_group()
        everywhere = everyones(local, group)
        first = sum(rows.shape[1] for rows in everywhere[: dist.get_rank(group)])
        lengths, tokens, means, alphas = torch.cat(everywhere, dim=1)
        settings = self.settings
        if settings.alpha_window is not None:
            if bool((alphas != alphas[0]).any()):
                raise RuntimeError(
                    f"one optimizer step has responses with the alphas {alphas.unique().tolist()}, allowed is one"
                )
            settings = replace(settings, alpha=alphas[0].item())
        aggregation = settings.aggregation
        weights = aggregation.weights(lengths, scope_means=means if aggregation.spans_steps else None)
        self.context.statistics.add_weights(weights, self.settings.max_length)
        self.context.statistics.add_counts(tokens, lengths)
        mine = weights[first : first + local.shape[1]] * self.loss_divisor
        self._weights.extend(mine.split([rows.shape[1] for rows in micro_batches]))
        # KL and entropy keep filtered responses, and an auxiliary loss needs no response at all.
        kl = self.args.algo.kl.use_loss and self.args.algo.kl.init_coef > 0
        others = self.aux_loss or (bool(tokens.any()) and bool(kl or self.args.actor.entropy_coef))
        self.context.nothing_left = not bool(weights.any()) and not others


_HOST_ITER = ppo_actor.iter_grad_accum_global_norm


def step_counts(window: Sequence[Experience], strategy: DeltaLStrategy, mask_fn: Callable) -> list[dict]:
    """The host's counts of one optimizer step for each of its micro batches, at least one token and one response. A step without any would
    be 0 / 0.
    """
    smallest = 1 / len(window)
    return [
        {k: v if k == "dp_size" else v.clamp(min=smallest) for k, v in info.items()}
        for _, info in _HOST_ITER(iter(window), strategy, len(window), mask_fn)
    ]


def _countable(status: dict, is_padding: bool) -> dict:
    """Let the host average a micro batch without responses or tokens: it divides by their number."""
    if is_padding:
        status["num_samples"] = NO_COUNT
    if status["num_action_tokens"] == 0:
        status["num_action_tokens"] = NO_COUNT
    for name, value in status["metrics"].items():
        if (
            isinstance(value, torch.Tensor)
            and status["weights"][name] == "token"
            and not bool(torch.isfinite(value).all())
        ):
            # A masked mean over no token. A loss that is not finite has stopped the run before.
            status["metrics"][name] = torch.zeros_like(value)
    return status
