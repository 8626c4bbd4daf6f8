"""The host's DeepSpeed strategy with guards before an update, and with checkpoints that survive a kill.

Which fault of the host each override mends is said there; deltal_openrlhf/host/features.py lists what a run announces.
"""

import json
import os
import shutil
from typing import Any

import torch
from openrlhf.models import Actor
from openrlhf.utils.deepspeed import DeepspeedStrategy
from openrlhf.utils.distributed_util import torch_dist_barrier_and_cuda_sync

from deltal_openrlhf.host import guards
from deltal_openrlhf.host.resume import SAVED_LOSS
from deltal_openrlhf.host.step import StepContext
from deltal_openrlhf.runs.files import write_atomically

STAGING = ".saving"


class DeltaLStrategy(DeepspeedStrategy):
    """One copy per worker. context: the trainer replaces it in every ppo_train."""

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
        return (
            f"the loss is {loss} on rank {self.get_rank()}, micro batch {self.context.micro_batch} of this ppo_train; stopped before the "
            f"optimizer step, the parameters are unchanged; prompts {[prompt[:200] for prompt in self.context.prompts]}"
        )

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
        model,
        save_dir,
        tag=None,
        max_num=3,
        max_mem=1000,
        client_state=None,
        save_latest=True,
        metric_value=None,
        metric_key=None,
    ) -> None:
        """Save beside, rename, move `latest`, and only then delete old ones. (The host deletes first.)"""
        staging = os.path.join(save_dir, STAGING)
        if self.is_rank_0():
            shutil.rmtree(staging, ignore_errors=True)
        torch_dist_barrier_and_cuda_sync()
        self.write_ckpt(model, staging, tag, client_state, metric_value, metric_key)
        torch_dist_barrier_and_cuda_sync()
        if self.is_rank_0():
            final = os.path.join(save_dir, tag)
            if (
                client_state and "deltal" in client_state
            ):  # readable without torch, before a resumed run starts anything
                write_atomically(os.path.join(staging, tag, SAVED_LOSS), json.dumps(client_state["deltal"]))
            _sync_tree(os.path.join(staging, tag))
            shutil.rmtree(final, ignore_errors=True)
            os.replace(os.path.join(staging, tag), final)
            for entry in os.scandir(staging):  # DeepSpeed's zero_to_fp32.py
                os.replace(entry.path, os.path.join(save_dir, entry.name))
            shutil.rmtree(staging, ignore_errors=True)
            _sync_folder(save_dir)
            if save_latest:
                write_atomically(os.path.join(save_dir, "latest"), tag)
            self._delete_old_checkpoints(save_dir, tag, max_num, max_mem)
        torch_dist_barrier_and_cuda_sync()

    def write_ckpt(self, model, folder, tag, client_state, metric_value, metric_key) -> None:
        """The checkpoint itself, into folder/tag."""
        super().save_ckpt(
            model,
            folder,
            tag,
            client_state=client_state,
            save_latest=False,
            metric_value=metric_value,
            metric_key=metric_key,
        )

    def _delete_old_checkpoints(self, save_dir: str, newest: str, max_num: int, max_mem: float) -> None:
        """The host's rule: the best one stays and does not count; without a metric goes first, then the worst, then the oldest."""
        tags = [d for d in os.listdir(save_dir) if os.path.isdir(os.path.join(save_dir, d)) and d != STAGING]
        for tag in tags:
            if newest.startswith("best") and tag.startswith("best") and tag != newest:
                shutil.rmtree(os.path.join(save_dir, tag))

        def age(tag: str) -> tuple:
            path = os.path.join(save_dir, tag)
            metric = self._read_ckpt_metric(path)
            return (metric is not None, metric if metric is not None else 0.0, os.path.getmtime(path))

        candidates = sorted((t for t in tags if not t.startswith("best") and t != newest), key=age)
        kept = len(candidates) + (not newest.startswith("best"))
        while candidates and (kept > max_num or _tree_bytes(save_dir) > max_mem * 1024**3):
            oldest = candidates.pop(0)
            shutil.rmtree(os.path.join(save_dir, oldest))
            self.print(f"Deleted checkpoint {os.path.join(save_dir, oldest)}")
            kept -= 1


def _engine(model):
    return model.model if isinstance(model, Actor) else model


def _sync_tree(folder: str) -> None:
    for path, _, files in os.walk(folder):
        for name in files:
            with open(os.path.join(path, name), "rb") as file:
                os.fsync(file.fileno())
        _sync_folder(path)


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tree_bytes(folder: str) -> int:
    return sum(os.path.getsize(os.path.join(path, name)) for path, _, names in os.walk(folder) for name in names)
