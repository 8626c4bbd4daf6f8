"""The strategy object of a Megatron run. The host gives one to every worker and asks it for ranks, steps and checkpoints.

OpenRLHF's mesh of data, ring and tensor parallel ranks stays, with all ranks of a replica in its third dimension. Megatron-Core's groups
cut that dimension. Only the workers import Megatron-Core.
"""

import math
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from openrlhf.utils.distributed_util import torch_dist_barrier_and_cuda_sync

from deltal_openrlhf.backends import CLIENT_STATES
from deltal_openrlhf.host import checkpoint_size
from deltal_openrlhf.host.collectives import everyones, largest
from deltal_openrlhf.host.optimizer_flags import command_line_kept
from deltal_openrlhf.host.planned_steps import data_parallel_ranks, largest_share
from deltal_openrlhf.host.strategy import DeltaLStrategy
from deltal_openrlhf.runs.full_disk import named_if_full
from megatron_ext.layout import ParallelLayout

if TYPE_CHECKING:
    from megatron_ext.engine import Engine


class MegatronStrategy(DeltaLStrategy):
    """The strategy of one worker. The policy's worker sets `engine` and `schedule`."""

    engine: "Engine"
    schedule: torch.optim.lr_scheduler.LRScheduler

    def setup_distributed(self, timeout: timedelta = timedelta(minutes=60)) -> None:
        """Set up like the host, with Megatron-Core's groups too. Raises ImportError if Megatron-Core or mbridge differ from what was
        checked.
        """
        from megatron_ext import bindings

        problems = bindings.check()
        if problems:
            raise ImportError(problems[0])
        from megatron_ext.model import initialize

        super().setup_distributed(timeout)
        self.layout = ParallelLayout.from_args(self.args)
        initialize(self.layout, self.seed, timeout)

    @property
    def ring_attn_group(self) -> dist.ProcessGroup:
        """Ranks that train on the same responses. Where there are some, the host leaves their order alone; the trainer shuffles."""
        return self.ds_device_mesh["tp"].get_group()

    def steps_of_rollout(self, num_responses: int) -> int:
        per_step = self.args.train.batch_size // data_parallel_ranks(self.args)
        return -(-largest_share(self.args, num_responses) // per_step)

    # ── One optimizer step: the host's training step calls these; the schedule runs between them ──

    def guard_gradient_norm(self, model: Any) -> None:
        pass  # finish_step looks at every norm

    def backward(self, loss: torch.Tensor, model: Any, optimizer: Any, **kwargs: Any) -> None:
        """Keep the loss for the schedule, which differentiates it."""
        self.loss = loss
        if not bool(torch.isfinite(loss)):
            self.bad_losses.append(self._bad_loss(loss.item()))

    def optimizer_step(self, optimizer: Any, model: Any, scheduler: Any, name: str = "model", **kwargs: Any) -> None:
        pass  # finish_step, once for all micro batches

    def get_grad_norm(self, model: Any) -> float:
        return self.last_norm

    def begin_step(self) -> None:
        self.bad_losses: list[str] = []
        self.last_norm = 0.0

    def finish_step(self) -> None:
        """Update the parameters. Raises RuntimeError on all ranks for a loss or gradient that is not finite. Skips a step that has nothing
        to learn.
        """
        if largest(len(self.bad_losses)):
            raise RuntimeError(next(reasons[0] for reasons in everyones(self.bad_losses) if reasons))
        self.last_norm = self.engine.gradient_norm()
        if not math.isfinite(self.last_norm):
            raise RuntimeError(self._bad_norm(self.schedule.last_epoch + 1))
        if not self.context.nothing_left:
            self.engine.set_learning_rate(float(self.schedule.get_last_lr()[0]))
            self.engine.update()
        # A schedule counts the steps of its own optimizer, which has nothing to do here.
        self.schedule.optimizer.step()
        self.schedule.step()
        self.context.statistics.add_update(self.last_norm, self.engine.max_norm, skipped=self.context.nothing_left)

    # ── Checkpoints and models ──

    def writers(
        self, model: Any, folder: str, tag: str, client_state: dict, metric: dict
    ) -> Iterator[Callable[[], None]]:
        from megatron_ext import checkpoint

        target = os.path.join(folder, tag)

        def write_client_state() -> None:
            if self.is_rank_0():
                # What the host keeps may be inf, which JSON has no word for.
                torch.save(client_state, os.path.join(target, CLIENT_STATES))
                self._write_ckpt_metric(target, metric.get("metric_value"), metric_key=metric.get("metric_key"))

        yield lambda: checkpoint.save(self.engine, target, {"schedule": self.schedule.state_dict()})
        yield write_client_state

    def load_ckpt(self, model: Any, load_dir: str, tag: str | None = None, **kwargs: Any) -> tuple[str | None, dict]:
        """(folder, client states) of the newest whole checkpoint. (None, {}) if there is none."""
        from megatron_ext import checkpoint

        tag = tag or self.resumed_tag(Path(load_dir))
        if tag is None:
            self.print(f"no checkpoint in {load_dir}: starting from the model")
            return None, {}
        folder = os.path.join(load_dir, tag)
        state = checkpoint.load(self.engine, folder)
        with command_line_kept(self.schedule.optimizer, self.schedule):
            self.schedule.load_state_dict(state["schedule"])
        return folder, torch.load(os.path.join(folder, CLIENT_STATES), weights_only=True)

    def save_model(self, model: Any, tokenizer: Any, output_dir: str, **kwargs: Any) -> None:
        """A Hugging Face folder, written by rank 0."""
        from megatron_ext.export import write_model

        with named_if_full(Path(output_dir), "the model", lambda: checkpoint_size.exported(self.args)):
            write_model(model.engine.model, output_dir, write=self.is_rank_0())
            if self.is_rank_0():
                tokenizer.save_pretrained(output_dir)
        torch_dist_barrier_and_cuda_sync()
