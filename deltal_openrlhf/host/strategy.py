"""The host's DeepSpeed strategy with guards before an update, and with checkpoints that survive a kill.

Each override names the fault of the host that it mends. deltal_openrlhf/host/faults.py lists them all.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from openrlhf.models import Actor
from openrlhf.utils.deepspeed import DeepspeedStrategy

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host import checkpoint_files, checkpoint_size, checksums, guards, saved_run, whole_checkpoints
from deltal_openrlhf.host.alive import Pulse
from deltal_openrlhf.host.collectives import everyones, of_rank_0, on_all_ranks
from deltal_openrlhf.host.ema import WeightAverage
from deltal_openrlhf.host.metrics import StepStatistics
from deltal_openrlhf.host.optimizer_flags import command_line_kept
from deltal_openrlhf.host.planned_steps import steps_in_dynamic_batches, steps_in_micro_batches
from deltal_openrlhf.host.resume import SAVED_LOSS
from deltal_openrlhf.host.saved_average import FILE as AVERAGE
from deltal_openrlhf.host.write_errors import raised_at_the_end
from deltal_openrlhf.runs.files import write_atomically
from deltal_openrlhf.runs.full_disk import named_if_full
from deltal_openrlhf.statistics.seeds import seed_of


@dataclass
class StepContext:
    """The state of one ppo_train of one worker. The trainer makes it and passes it on, because the host's calls in between have no argument
    for it.

    statistics: the trainer adds the weights of every optimizer step, the strategy its update. micro_batch: number of the micro batch in
    progress, from 0. prompts: those of its responses, none in a micro batch that only fills up. nothing_left: whether the optimizer step in
    progress has nothing to learn from, so that its update is left out.
    """

    statistics: StepStatistics = field(default_factory=StepStatistics)
    micro_batch: int = -1
    prompts: Sequence[str] = ()
    nothing_left: bool = False

    def begin_micro_batch(self, prompts: Sequence[str]) -> None:
        self.micro_batch += 1
        self.prompts = prompts


class DeltaLStrategy(DeepspeedStrategy):
    """The strategy of one worker.

    context: the trainer replaces it in every ppo_train. average: that of the policy's weights, if one is wanted.
    """

    args: Arguments
    average: WeightAverage | None = None
    _loaded: Path | None = None
    _update_skipped = _updated = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.context = StepContext()
        self.pulse = Pulse()

    def prepare(self, *models: Any) -> Any:
        self.pulse.alive("a model is loaded")
        prepared = super().prepare(*models)
        self.pulse.alive("a model is ready")
        for one in prepared if isinstance(prepared, list) else [prepared]:
            # The model, or with its optimizer and schedule.
            self.pulse.follow(one[0] if isinstance(one, tuple) else one)
        return prepared

    def get_ds_train_config(self, *args: Any, **kwargs: Any) -> dict:
        config = super().get_ds_train_config(*args, **kwargs)
        if self.args.deltal.sgd and "optimizer" in config:
            config["optimizer"] = {"type": "SGD", "params": {"lr": config["optimizer"]["params"]["lr"]}}
            config["zero_allow_untested_optimizer"] = True  # exact with ZeRO: tests/comparison/test_compare_sgd.py
        if self.use_dynamic_batch and self.stage in (1, 2):
            # DeepSpeed's default takes every backward for a boundary and keeps the last micro batch's gradient only.
            config["managed_gradient_accumulation"] = False
        return config

    def steps_of_rollout(self, num_responses: int) -> int:
        """The optimizer steps of one pass over a rollout batch of this many responses. The driver calls it too."""
        counted = steps_in_dynamic_batches if self.use_dynamic_batch else steps_in_micro_batches
        return counted(self.args, num_responses)

    # ── Guards ──

    def backward(self, loss: torch.Tensor, model: Any, optimizer: Any, **kwargs: Any) -> None:
        super().backward(loss, model, optimizer, **kwargs)
        # After the backward pass, so that no other rank is left waiting in its collectives; the parameters are still the old ones.
        if not bool(torch.isfinite(loss)):
            raise RuntimeError(self._bad_loss(loss.item()))

    def guard_gradient_norm(self, model: Any) -> None:
        """Make sure that every gradient is checked before an update. Raises RuntimeError if that is impossible."""
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
        self._updated = at_boundary and not self._update_skipped
        if at_boundary and name == "critic":
            self._seed_critic(engine)
        if at_boundary and name == "actor":
            norm = None if overflow else self.get_grad_norm(model)
            self.context.statistics.add_update(norm, engine.gradient_clipping(), skipped=self._update_skipped)

    # ── The average of the weights ──

    def start_average(self, model: Any) -> None:
        """Start the average from the loaded checkpoint, else from the model. model: the host's second one."""
        self.average = WeightAverage(model)
        if self._loaded is not None:
            self.average.load(self._loaded / AVERAGE)

    def moving_average(self, model: Any, model_ema: Any, beta: float = 0.992, device: str = "cpu") -> None:
        """Average after a micro batch that ends an optimizer step, unless the step was left out. Called after every micro batch."""
        if self.average is not None and self._updated:
            self.average.update(model, beta)

    def save_model(self, model: Any, tokenizer: Any, output_dir: str, **kwargs: Any) -> None:
        if self.average is not None and model is self.average.model:
            self.average.fill()
        with named_if_full(Path(output_dir), "the model", lambda: checkpoint_size.exported(self.args)):
            super().save_model(model, tokenizer, output_dir, **kwargs)

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
        """Save a checkpoint to a separate folder, move it into place, move `latest`, and only then delete old ones. (The host deletes
        first.)

        max_num, max_mem: checkpoints that are kept, and their GiB. given: save_latest, metric_value and metric_key, as the host's. A disk
        error on one rank is raised on all. An error in a collective, such as a lack of memory while states are gathered, is not.
        """
        folder, save_latest = Path(save_dir), given.pop("save_latest", True)
        staging = folder / checkpoint_files.STAGING

        def named(step: Callable[[], None]) -> None:
            with named_if_full(folder, f"checkpoint {tag}", lambda: checkpoint_size.checkpoint(self.args)):
                step()
            self.pulse.alive(f"a part of checkpoint {tag}")

        def publish() -> None:
            checkpoint_files.publish(folder, tag)
            if save_latest:
                write_atomically(folder / "latest", tag)

        of_rank_0(lambda: checkpoint_files.begin(folder))
        try:
            for step in self.writers(model, str(staging), tag, client_state or {}, given):
                on_all_ranks(partial(named, step))
            of_rank_0(lambda: named(lambda: self._describe(staging / tag, client_state or {})))
            on_all_ranks(lambda: named(lambda: self._write_checksums(staging / tag)))
            of_rank_0(lambda: named(publish))
        except Exception:  # on all ranks, unless one has died: its part can never come
            if self.is_rank_0():
                checkpoint_files.give_up(folder)
            raise
        of_rank_0(lambda: self._delete_old(folder, tag, max_num, max_mem))

    def writers(
        self, model: Any, folder: str, tag: str, client_state: dict, metric: dict
    ) -> Iterator[Callable[[], None]]:
        """The functions that write the checkpoint into folder/tag, one after the other, each on all ranks. metric: its value and key."""

        def write_engine() -> None:
            with raised_at_the_end(model):
                super(DeltaLStrategy, self).save_ckpt(
                    model, folder, tag, client_state=client_state, save_latest=False, **metric
                )

        yield write_engine
        if self.average is not None:
            yield partial(self.average.save, Path(folder, tag, AVERAGE))

    def _describe(self, folder: Path, client_state: dict) -> None:
        """Write a description that is readable without torch, before a resumed run starts anything."""
        write_atomically(folder / whole_checkpoints.SAVED_BY, self.args.deltal.start)
        for name, file in (("deltal", SAVED_LOSS), ("run", saved_run.FILE)):
            if name in client_state:
                write_atomically(folder / file, json.dumps(client_state[name]))

    def _write_checksums(self, folder: Path) -> None:
        """Write the checksums of all files in the folder, which every rank has left. Each rank reads its share."""
        # On a network file system a rank may see its own new files before it sees those of others.
        seen = everyones(on_all_ranks(lambda: checksums.sizes_in(folder)))
        sizes = {file: size for one in seen for file, size in one.items()}
        share = checksums.parts_of(sizes)[self.get_rank() :: dist.get_world_size()]
        own = on_all_ranks(lambda: checksums.of(folder, share))
        sums = {part: value for one in everyones(own) for part, value in one.items()}
        if self.is_rank_0():
            checksums.write(folder, sizes, sums)

    def _delete_old(self, folder: Path, tag: str, max_num: int, max_mem: float) -> None:
        """Once all models of the run have this checkpoint; the last one to save deletes for all. So they always have one in common."""
        models = whole_checkpoints.loaded_together(self.args, folder)
        if not whole_checkpoints.is_saved(models, tag):
            return
        for model in models:
            checkpoint_files.sync_one(model)  # `latest` of the other model too
        with suppress(FileNotFoundError):  # the other model was saved at the same moment, and deletes too
            for model in models:
                for old in checkpoint_files.old_ones(model, tag, max_num, max_mem, self._read_ckpt_metric):
                    checkpoint_files.delete(old)
                    self.print(f"Deleted checkpoint {old}")

    def load_ckpt(self, model: Any, load_dir: str, tag: str | None = None, **options: Any) -> tuple[Any, dict]:
        """Load like the host, but from the newest whole checkpoint, and with the optimizer's settings of the command line."""
        engine, path, states = _engine(model), None, {}
        if tag is None and not self.use_ds_universal_ckpt:  # those are made by DeepSpeed's script
            tag = self.resumed_tag(Path(load_dir))
        if tag is not None or self.use_ds_universal_ckpt:
            with command_line_kept(engine.basic_optimizer, engine.lr_scheduler):
                path, states = super().load_ckpt(model, load_dir, tag, **options)
        if hasattr(engine.optimizer, "clip_grad"):  # saved and restored by some of DeepSpeed's optimizers
            engine.optimizer.clip_grad = engine.gradient_clipping()
        self._loaded = Path(load_dir, tag) if path and tag else None
        self._seed_critic(engine)
        return path, states

    def _seed_critic(self, engine: Any) -> None:
        """The critic's trainer, which is the host's, shuffles by torch's own generator. A resumed run takes the same steps by this."""
        torch.manual_seed(seed_of(self.seed, "critic", engine.global_steps))

    def resumed_tag(self, folder: Path) -> str | None:
        """The checkpoint to resume from, the same on all ranks. None if nothing was saved. Raises ValueError if none is whole.

        The driver has chosen it before Ray started, unless it does not see the folder.
        """
        if self.args.deltal.resumed is not None:
            return self.args.deltal.resumed
        # Rank 0 lists them: a network file system may show each rank another state of a folder.
        folders = of_rank_0(lambda: whole_checkpoints.loaded_together(self.args, folder))
        tags = of_rank_0(lambda: whole_checkpoints.tags_in(folders[0]))
        in_share = whole_checkpoints.fault_in(folders, self.get_rank(), dist.get_world_size())

        def fault(tag: str) -> whole_checkpoints.Fault | None:
            return next(filter(None, everyones(on_all_ranks(lambda: in_share(tag)))), None)

        choice = whole_checkpoints.choose(folders[0], tags, fault)
        if choice is None:
            return None
        for line in choice.warnings(folder):
            self.print(line)
        return choice.tag


def _engine(model: Any) -> Any:
    return model.model if isinstance(model, Actor) else model
