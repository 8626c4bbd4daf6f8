"""The host's DeepSpeed strategy with guards before an update, and with checkpoints that survive a kill.

Each override names the fault of the host that it mends; deltal_openrlhf/host/features.py lists what a run announces.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from openrlhf.models import Actor
from openrlhf.utils.deepspeed import DeepspeedStrategy
from openrlhf.utils.distributed_util import torch_dist_barrier_and_cuda_sync

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host import checkpoint_files, guards
from deltal_openrlhf.host.metrics import StepStatistics
from deltal_openrlhf.host.resume import SAVED_LOSS
from deltal_openrlhf.runs.files import write_atomically


@dataclass
class StepContext:
    """One ppo_train of one worker. The trainer makes it and hands it over: the host's calls between the two have no place for it.

    statistics: the trainer adds the weights of every optimizer step, the strategy its update.
    micro_batch: number of the micro batch in progress, from 0. prompts: those of its responses, none in one that only fills up.
    nothing_left: whether the optimizer step in progress has nothing to learn from, so that its update has to be left out.
    """

    statistics: StepStatistics = field(default_factory=StepStatistics)
    micro_batch: int = -1
    prompts: Sequence[str] = ()
    nothing_left: bool = False

    def begin_micro_batch(self, prompts: Sequence[str]) -> None:
        self.micro_batch += 1
        self.prompts = prompts


class DeltaLStrategy(DeepspeedStrategy):
    """One copy per worker. context: the trainer replaces it in every ppo_train."""

    args: Arguments
    _update_skipped = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.context = StepContext()

    def get_ds_train_config(self, *args: Any, **kwargs: Any) -> dict:
        config = super().get_ds_train_config(*args, **kwargs)
        if self.args.deltal.sgd and "optimizer" in config:
            config["optimizer"] = {"type": "SGD", "params": {"lr": config["optimizer"]["params"]["lr"]}}
            config["zero_allow_untested_optimizer"] = True  # exact with ZeRO: tests/comparison/test_compare_sgd.py
        if self.use_dynamic_batch and self.stage in (1, 2):
            # DeepSpeed's default takes every backward for a boundary and keeps the last micro batch's gradient only.
            config["managed_gradient_accumulation"] = False
        return config

    # ── Guards ──

    def backward(self, loss: torch.Tensor, model: Any, optimizer: Any, **kwargs: Any) -> None:
        super().backward(loss, model, optimizer, **kwargs)
        # After the backward pass, so that no other rank is left waiting in its collectives; the parameters are still the old ones.
        if not bool(torch.isfinite(loss)):
            raise RuntimeError(self._bad_loss(loss.item()))

    def guard_gradient_norm(self, model: Any) -> None:
        """Make sure that every gradient is looked at before an update. Raises RuntimeError where that cannot be."""
        engine = _engine(model)
        guards.prepare(engine)
        if self.stage in (1, 2) and self.use_dynamic_batch and engine.managed_gradient_accumulation():
            raise RuntimeError(
                "DeepSpeed ignored managed_gradient_accumulation: it would train on the last micro batch only"
            )

    def _bad_loss(self, loss: float) -> str:
        where, prompts = f"the loss is {loss} on rank {self.get_rank()}", ""
        if self.context.micro_batch >= 0:  # a critic's trainer, which is the host's, does not say
            where += f", micro batch {self.context.micro_batch} of this ppo_train"
            prompts = f"; prompts {[prompt[:200] for prompt in self.context.prompts]}"
        return f"{where}; stopped before the optimizer step, the parameters are unchanged{prompts}"

    def _bad_norm(self, step: int) -> str:
        return (
            f"the gradient norm is inf or nan on rank {self.get_rank()} in optimizer step {step}; stopped before the optimizer step, "
            "the parameters are unchanged"
        )

    def optimizer_step(self, optimizer: Any, model: Any, scheduler: Any, name: str = "model", **kwargs: Any) -> None:
        engine = _engine(model)
        at_boundary = engine.is_gradient_accumulation_boundary() or not engine.managed_gradient_accumulation()
        self._update_skipped = at_boundary and name == "actor" and self.context.nothing_left
        if at_boundary and not guards.checks_itself(engine):
            if not guards.is_finite_everywhere(guards.gradient_norm(engine)):
                raise RuntimeError(self._bad_norm(engine.global_steps + 1))
        # Nothing to learn from: Adam's momentum would still move the weights. The schedule advances as in any step.
        with guards.stepping(engine, without_update=self._update_skipped):
            super().optimizer_step(optimizer, model, scheduler, name=name, **kwargs)
        overflow = at_boundary and getattr(engine.optimizer, "overflow", False)
        if overflow and not engine.fp16_enabled():
            # ZeRO-1/2 left the step out without a word.
            raise RuntimeError(self._bad_norm(engine.global_steps))
        if overflow:
            self._update_skipped = True  # by loss scaling; the norm is that of an earlier step
        if at_boundary and name == "actor":
            norm = None if overflow else self.get_grad_norm(model)
            self.context.statistics.add_update(norm, engine.gradient_clipping(), skipped=self._update_skipped)

    def moving_average(self, model: Any, model_ema: Any, beta: float = 0.992, device: str = "cpu") -> None:
        if self._update_skipped:
            self.time_steps["ema"] += 1
            return
        super().moving_average(model, model_ema, beta, device)

    # ── Checkpoints ──

    def save_ckpt(
        self,
        model: Any,
        save_dir: str,
        tag: str,
        max_num: int = 3,
        max_mem: float = 1000,
        client_state: dict | None = None,
        **given: Any,
    ) -> None:
        """Save aside, put in place, move `latest`, and only then delete old ones. (The host deletes first.)

        max_num, max_mem: checkpoints that are kept, and their GiB. given: save_latest, metric_value and metric_key, as the host's.
        """
        folder, save_latest = Path(save_dir), given.pop("save_latest", True)
        if self.is_rank_0():
            checkpoint_files.begin(folder)
        torch_dist_barrier_and_cuda_sync()
        self.write_ckpt(model, str(folder / checkpoint_files.STAGING), tag, client_state or {}, **given)
        torch_dist_barrier_and_cuda_sync()
        if self.is_rank_0():
            if client_state and "deltal" in client_state:
                # Readable without torch, before a resumed run starts anything.
                write_atomically(
                    folder / checkpoint_files.STAGING / tag / SAVED_LOSS, json.dumps(client_state["deltal"])
                )
            checkpoint_files.publish(folder, tag)
            if save_latest:
                write_atomically(folder / "latest", tag)
            for old in checkpoint_files.old_ones(folder, tag, max_num, max_mem, self._read_ckpt_metric):
                shutil.rmtree(old)
                self.print(f"Deleted checkpoint {old}")
        torch_dist_barrier_and_cuda_sync()

    def write_ckpt(self, model: Any, folder: str, tag: str, client_state: dict, **metric: Any) -> None:
        """The checkpoint itself, into folder/tag. metric: metric_value and metric_key, as the host's."""
        super().save_ckpt(model, folder, tag, client_state=client_state, save_latest=False, **metric)


def _engine(model: Any) -> Any:
    return model.model if isinstance(model, Actor) else model
