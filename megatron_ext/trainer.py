"""The trainer of host/trainer.py on a Megatron engine: the same responses, weights and loss code, cut over more ranks.

An optimizer step is one run of Megatron-Core's schedule over its micro batches. On the last pipeline stage the schedule has a micro batch's
log-probabilities. There, the host's own training step computes the loss from them. Its model call returns these log-probabilities, and its
backward passes the loss to the schedule. So the loss, its clipping, corrections, KL and entropy terms and metrics come from the same code
as in a DeepSpeed run.
"""

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice
from types import SimpleNamespace
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.module_inject import layers
from megatron.core import parallel_state
from megatron.core.dist_checkpointing.dict_utils import dict_list_map_outplace
from openrlhf.trainer.ppo_utils.experience import Experience
from torch import Tensor
from torch.utils.data import DataLoader

from deltal_openrlhf.host import trainer as deepspeed_trainer
from deltal_openrlhf.host.collectives import largest
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.strategy import DeltaLStrategy
from deltal_openrlhf.host.trainer import DeltaLActorTrainer
from megatron_ext.batching import cut_by_number, cut_by_tokens
from megatron_ext.engine import Engine
from megatron_ext.export import ExportedParameter
from megatron_ext.strategy import MegatronStrategy


class MegatronActor:
    """The object that the host calls the actor. Asked for a micro batch's log-probabilities, it returns those that `answer` set."""

    is_vlm = False

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # The host walks self.actor.model.module.named_parameters() when it sends weights to vLLM.
        self.model = SimpleNamespace(module=SimpleNamespace(named_parameters=lambda: []))
        self.answer: tuple[Tensor, Tensor | None]

    def train(self) -> None:
        pass  # the engine knows what it runs

    eval = train

    def __call__(self, sequences: Tensor, action_mask: Tensor, **kwargs: Any) -> tuple[Tensor, SimpleNamespace]:
        """Log-probabilities [num_responses, num_actions] of the action tokens, and the entropy of all. As Actor.forward of the host."""
        log_probs, entropy = self.answer
        # Auxiliary losses of experts are added inside the model.
        output = SimpleNamespace(entropy=entropy, aux_loss=log_probs.new_zeros(()))
        return log_probs[:, -action_mask.shape[1] :] * action_mask.float(), output


class MegatronActorTrainer(DeltaLActorTrainer):
    """The trainer of one training worker. All ranks of a replica hold the same responses and make the same plan."""

    strategy: MegatronStrategy

    def __init__(self, strategy: MegatronStrategy, actor: MegatronActor, *args: Any, **kwargs: Any) -> None:
        super().__init__(strategy, actor, *args, **kwargs)
        self.engine = actor.engine
        # The host's buffer hands out micro batches of any size when told which responses each one has.
        self.replay_buffer.dynamic_batch = True
        self.replay_buffer.sample_batch_size = 1
        self._plan: list[list[list[int]]] = []

    def ppo_train(self, kl_ctl: float) -> dict:
        self.kl_ctl = kl_ctl
        self._epochs_left = self.max_epochs
        self._plan_epoch()
        return super().ppo_train(kl_ctl)

    def training_step(
        self, experience: Experience, kl_ctl: float, step: int, loss_batch_info: dict | None = None
    ) -> dict:
        """The host's report of a micro batch. The step has already been taken (_iter_optimizer_steps)."""
        return self._statuses.pop(0)

    # ── Which responses are trained on together ──

    def _plan_epoch(self) -> None:
        """Shuffle, cut into optimizer steps, and cut those into micro batches, as many on every data parallel rank.

        The responses of different ranks may need different numbers of micro batches; empty ones fill up. The order depends on the seed and
        on the number of steps taken. So a resumed run takes the same steps as an uninterrupted one.
        """
        items, group = self.replay_buffer.items, self.strategy.ds_device_mesh["dp"].get_group()
        deepspeed_trainer.check_every_rank_has_responses(len(items), group)
        generator = torch.Generator().manual_seed(self.strategy.seed + self.actor_scheduler.last_epoch)
        order = torch.randperm(len(items), generator=generator).tolist()
        per_step = self.args.train.batch_size // dist.get_world_size(group)
        num_steps = largest(math.ceil(len(order) / per_step), group)
        steps = [order[i * per_step : (i + 1) * per_step] for i in range(num_steps)]
        plan = [self._cut(step, at_least=1) for step in steps]
        wanted = [self.engine.whole_rounds(largest(len(micro_batches), group)) for micro_batches in plan]
        plan = [self._cut(step, at_least=number) for step, number in zip(steps, wanted, strict=True)]
        self._plan = [step + [[]] * (number - len(step)) for step, number in zip(plan, wanted, strict=True)]
        self.replay_buffer.dynamic_indices = [members or [0] for step in self._plan for members in step]

    def _cut(self, step: list[int], at_least: int) -> list[list[int]]:
        budget, items = self.args.megatron.max_tokens_per_micro_batch, self.replay_buffer.items
        if budget is None:
            cut = cut_by_number(len(step), self.args.train.micro_batch_size)
        else:
            lengths = [self.engine.layout.padded(int(items[i].attention_mask.sum())) for i in step]
            cut = cut_by_tokens(lengths, budget, packed=self.engine.packed, at_least=at_least)
        return [[step[i] for i in members] for members in cut]

    # ── One optimizer step ──

    def _iter_optimizer_steps(
        self, data_iter: DataLoader, strategy: DeltaLStrategy, accumulated_gradient: int, mask_fn: Callable
    ) -> Iterator[tuple[Experience, dict]]:
        """Take each optimizer step, then give its micro batches to the host, which asks training_step for its reports."""
        micro_batches = iter(data_iter)
        for members in self._plan:
            window = list(islice(micro_batches, len(members)))
            for experience, indices in zip(window, members, strict=True):
                experience.to_device(torch.device(torch.cuda.current_device()))
                if not indices:  # nothing but padding, so that it adds no auxiliary loss of experts either
                    experience.action_mask = torch.zeros_like(experience.action_mask)
                    experience.attention_mask = torch.zeros_like(experience.attention_mask)
                    experience.prompts = []
            self.loss_divisor = len(window)
            self._begin_step(window)
            # The host's counts of the step's tokens and responses.
            infos = deepspeed_trainer.step_counts(window, strategy, mask_fn)
            self._statuses = self._take_step(window, infos)
            yield from zip(window, infos, strict=True)
        self._epochs_left -= 1
        if self._epochs_left:
            self._plan_epoch()

    def _take_step(self, window: list[Experience], infos: list[dict]) -> list[dict]:
        """Forward, backward and update. Returns what the host reports of every micro batch, on all ranks."""
        statuses: list[dict] = []

        def loss(number: int, log_probs: Tensor, entropies: Tensor | None) -> Tensor:
            self.actor.answer = (log_probs, entropies)
            statuses.append(
                super(MegatronActorTrainer, self).training_step(window[number], self.kl_ctl, number, infos[number])
            )
            return self.strategy.loss

        self.strategy.begin_step()
        pairs = [(experience.sequences, experience.attention_mask) for experience in window]
        self.engine.gradients(pairs, loss, entropy=self.args.actor.entropy_coef is not None)
        self._weights.clear()
        self.strategy.finish_step()
        statuses = self._from_last_stage(statuses)
        for status in statuses:
            status["metrics"]["actor_grad_norm"] = self.strategy.last_norm
        statuses[-1]["metrics"]["actor_lr"] = self.actor_scheduler.get_last_lr()[0]
        return statuses

    def _from_last_stage(self, statuses: list[dict]) -> list[dict]:
        group = parallel_state.get_pipeline_model_parallel_group()
        if group.size() == 1:
            return statuses
        on_cpu = dict_list_map_outplace(lambda v: v.detach().cpu() if isinstance(v, Tensor) else v, statuses)
        shared: list[Any] = [on_cpu]
        dist.broadcast_object_list(shared, src=parallel_state.get_pipeline_model_parallel_last_rank(), group=group)
        return shared[0]

    # ── Weights to vLLM ──

    def broadcast_to_vllm(self) -> None:
        """Run the host's broadcast once for the whole model. One tensor at a time is whole.

        The host enters one of DeepSpeed's contexts around each parameter, on every rank. There its tensor is exported.
        """
        tensors = self.engine.model.export()
        parameters = [(name, ExportedParameter(name, tensors)) for name in self._exported_names]
        with (
            rebound(self.actor.model.module, "named_parameters", lambda: parameters),
            rebound(deepspeed.zero, "GatheredParameters", _itself),
            rebound(layers, "GatherReplacedLayerParams", _itself),
        ):
            super().broadcast_to_vllm()
        if next(tensors, None) is not None:
            raise RuntimeError("the host's broadcast_to_vllm left out parameters: the host changed")

    @cached_property
    def _exported_names(self) -> list[str]:
        """In the order of an export, which this takes: the host wants all names before the first tensor."""
        return [name for name, _ in self.engine.model.export()]


def _itself(parameters: list[ExportedParameter], *args: Any, **kwargs: Any) -> ExportedParameter:
    """In place of DeepSpeed's contexts that gather a parameter."""
    return parameters[0]
