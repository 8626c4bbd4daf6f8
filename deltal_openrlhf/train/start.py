"""Makes every check that is possible before Ray starts, and says what a run does differently from the stock host."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from deltal_openrlhf import backends, cpu
from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.backends import Backend, Layout
from deltal_openrlhf.host import finished, remote_code, whole_checkpoints
from deltal_openrlhf.host.resume import check_resumed_backend, check_resumed_loss, read_saved_loss
from deltal_openrlhf.host.reward_source import check_reward_source, probe_reward_services
from deltal_openrlhf.host.saved_run import changed_length, check_resumed_run
from deltal_openrlhf.host.settings import LossSettings
from deltal_openrlhf.runs.faults import Faults
from deltal_openrlhf.standins import flash_attn
from deltal_openrlhf.train import (
    checks,
    disk,
    elsewhere,
    gpus,
    least_memory,
    lora_targets,
    model_hub,
    numbers,
    run_data,
    threads,
)
from deltal_openrlhf.train.credentials import resolve_wandb_key
from deltal_openrlhf.train.data_files import has_reward, missing_files, missing_flags, missing_models
from deltal_openrlhf.train.data_flags import check_data_flags
from deltal_openrlhf.train.user_files import check_user_files


@dataclass(frozen=True)
class Start:
    """A run whose flags have been checked.

    layout: None if each rank holds a copy of the model. notes: flags that were changed to suit the device. choice: the checkpoint from
    which the run resumes. locks: those of its folders. Another run is refused until they are closed.
    """

    args: Arguments
    settings: LossSettings
    backend: Backend
    layout: Layout | None
    on_cpu: bool
    notes: list[str]
    choice: whole_checkpoints.Choice | None
    data: run_data.RunData
    locks: Sequence[IO] = ()

    @property
    def resumed(self) -> str | None:
        """The tag of the checkpoint from which the run resumes."""
        return self.choice.tag if self.choice else None

    @property
    def is_finished(self) -> bool:
        """Whether the run has ended before, so that it would only export over its model."""
        return self.choice is not None and finished.is_finished(self.args)

    @property
    def threads(self) -> int:
        """Threads of each process, where there is no GPU."""
        return threads.of_a_process(self.args)

    def warnings(self) -> list[str]:
        """What the user has to see, on the console and in the log."""
        warnings = self.choice.warnings(Path(self.args.ckpt.path)) if self.choice else []
        actor = self.args.actor
        if actor.policy_loss_type == "gspo" and actor.loss_agg_mode != self.settings.mode:
            warnings.append(
                f"--actor.policy_loss_type gspo is {self.settings.mode} in OpenRLHF; --loss_agg {actor.loss_agg_mode} has no effect"
            )
        return warnings

    def lines(self) -> list[str]:
        """The lines that the user sees before anything starts."""
        args, settings = self.args, self.settings
        if self.on_cpu:
            lines = [f"no CUDA here, running on the CPU ({'; '.join(self.notes) or 'no flag changed'})"]
            if self.threads > 1:
                lines.append(
                    f"{self.threads} threads in each process, because of the size of the model; OMP_NUM_THREADS sets another number"
                )
        else:
            lines = list(self.notes)
        lines.append(settings.describe())
        lines += self.data.lines()
        if self.layout is not None:
            lines.append(f"{self.backend.title}: {checks.describe_layout(self.layout, args)}")
        if settings.mode == "deltal" and args.actor.max_norm > 0:
            lines.append(
                f"∆L's gradients are about mean length / M of token-mean's; --actor.max_norm {args.actor.max_norm:g} may never bind "
                "(metric deltal/clip_share)"
            )
        if settings.mode == "deltal" and args.train.dynamic_batch_enable:
            lines.append(
                "--train.dynamic_batch_enable: OpenRLHF sorts each rollout by length and takes optimizer steps in that order, so steps "
                "differ in length; static micro batches (without the flag) take them at random"
            )
        if self.resumed is not None:
            lines.append(f"resuming from checkpoint {self.resumed} in {args.ckpt.path}")
            if changed := changed_length(args, self.resumed):
                lines.append(
                    f"the run has another length than when it was saved ({', '.join(changed)}): its learning-rate schedule too"
                )
        if reason := disk.last_save_fails(args):
            lines.append(f"told to stop, the run will save nothing: {reason}")
        return lines


def check(args: Arguments, defaults: Mapping[str, Any], on_cpu: bool, faults: Faults | None = None) -> Start:
    """Check all flags, and set those that the device or the backend determines.

    Raises Refused, a ValueError, with all that is wrong with the flags, else with the first row that is. defaults: the parser's value of
    every flag that the run sets, by dest. faults: those found before.
    """
    faults = Faults() if faults is None else faults
    is_real = not args.dry_run
    needs_gpus_here = is_real and not on_cpu and not gpus.joins_cluster()
    has_workers_elsewhere = is_real and not on_cpu and not needs_gpus_here and not gpus.here()
    if not defaults and not faults and (missing := missing_flags(args)):
        raise ValueError(missing[0])  # nothing is given, and this line says what gives all
    with faults.gathered():
        _check_gpus_here(needs_gpus_here)
    backend = backends.load(args.backend)
    settings, layout, notes = _check_flags(args, defaults, backend, on_cpu, faults)
    with faults.gathered():
        if needs_gpus_here and gpus.here():
            gpus.check(args, gpus.here(), "this machine")
    _check_files(args, faults, has_workers_elsewhere)
    notes += _check_model_and_code(args, backend, faults, has_workers_elsewhere)
    if not faults:
        with faults.gathered():
            disk.check(args)  # of a whole run's size
        with faults.gathered():
            if is_real and not gpus.joins_cluster():
                least_memory.check(args, on_cpu)
    faults.refuse()
    assert settings is not None
    if has_workers_elsewhere:
        notes += elsewhere.notes(args)
    has_our_service = is_real and probe_reward_services(args)
    checks.check_label_key(args, has_our_service=has_our_service)
    data = run_data.read(args, has_our_service)
    remote_code.check_models(args, may_download=is_real)  # again: the hub has answered by now
    args.deltal.data = data.fingerprint()
    # Before the checkpoint is chosen: a run that still ends in these folders may save another one.
    locks = disk.lock(args) if is_real else []
    choice = _check_resumed(args, settings, backend)
    args.deltal.resumed = choice.tag if choice else None
    return Start(args, settings, backend, layout, on_cpu, notes, choice, data, locks)


def _check_flags(
    args: Arguments, defaults: Mapping[str, Any], backend: Backend, on_cpu: bool, faults: Faults
) -> tuple[LossSettings | None, Layout | None, list[str]]:
    """What the flags say by themselves: (settings, layout, notes). Sets those that the device or the backend determines."""
    settings, layout = None, None
    notes: list[str] = []
    with faults.gathered():
        numbers.check_numbers(args, defaults)
    with faults.gathered():
        notes += resolve_wandb_key(args)
    with faults.gathered():
        settings = LossSettings.from_args(args)
    with faults.gathered():
        numbers.check_loss_flags(args)
    with faults.gathered():
        checks.check_other_backends(args, defaults)
    with faults.gathered():
        # Before the backend's checks: that there is no GPU says more than what a loss cannot do.
        notes += fit_device(args, backend, on_cpu) if not args.dry_run else []
    with faults.gathered():
        layout = backend.check(args, defaults, on_cpu)
    if layout is not None:
        # The host sends the same responses to this many ranks, one after the other.
        args.ds.tensor_parallel_size = layout.replica
    with faults.gathered():
        checks.check_rollout_size(args)
    if layout is not None or args.backend == backends.DEFAULT:  # else nobody knows how many ranks share a response
        with faults.gathered():
            checks.check_batch_sizes(args, backend)
    for check_flags in (
        check_reward_source,
        checks.check_label_key,
        checks.check_save_rollouts,
        check_data_flags,
        checks.check_placement,
    ):
        with faults.gathered():
            check_flags(args)
    return settings, layout, notes


def _check_model_and_code(args: Arguments, backend: Backend, faults: Faults, has_workers_elsewhere: bool) -> list[str]:
    """What the model and the user's code say, which takes seconds. After a fault only what is here is asked. Returns notes."""
    notes: list[str] = []
    name = args.actor.model_name_or_path
    if not faults or (name and Path(name).is_dir()):
        with faults.gathered():
            notes += model_hub.ask_modelscope(args) if args.use_ms else []
        with faults.gathered():
            remote_code.check_models(args)
            backend.check_model(args)
        with faults.gathered():
            numbers.check_positions(args)
        with faults.gathered():
            lora_targets.check(args)
    if not has_workers_elsewhere:
        with faults.gathered():
            check_user_files(args)
    return notes


def _check_gpus_here(needed: bool) -> None:
    if needed and not gpus.here():
        raise ValueError(
            "torch was built for GPUs and sees none; submit to a Ray cluster, or make the CPU environment, in a clone: "
            "DELTAL_SETUP_CPU=1 bash scripts/setup.sh"
        )


def _check_files(args: Arguments, faults: Faults, has_workers_elsewhere: bool) -> None:
    """Add a fault for each model, data set or reward that is not given, or is not here.

    A dry run shows flags without their files: it says what is missing next to other faults only.
    """
    lacking = [] if has_reward(args) else missing_flags(args)  # OpenRLHF's own checks would end in a traceback
    for line in lacking:
        faults.add(ValueError(line))
    for line in missing_models(args, of_workers=not has_workers_elsewhere):
        faults.add(ValueError(f"{line}; {elsewhere.NEEDED}" if has_workers_elsewhere else line))
    if faults or not args.dry_run:
        for line in missing_files(args, of_workers=not has_workers_elsewhere):
            if line not in lacking:
                faults.add(ValueError(f"a real start would be refused too: {line}" if args.dry_run else line))


def fit_device(args: Arguments, backend: Backend, on_cpu: bool) -> list[str]:
    """Set what the device needs. Returns one line for each changed value. Raises ValueError for what cannot run on it."""
    if not on_cpu:
        return flash_attn.adjust_flags(args, backend.ignored)
    gpus.check_cores(args)
    return cpu.adjust_flags(args, backend.ignored)


def _check_resumed(args: Arguments, settings: LossSettings, backend: Backend) -> whole_checkpoints.Choice | None:
    """The checkpoint from which the run resumes. None if there is none. Raises ValueError if none is whole or the newest does not fit."""
    folders = whole_checkpoints.loaded_together(args, Path(args.ckpt.path, "_actor"))
    tags = whole_checkpoints.tags_in(folders[0]) if args.ckpt.load_enable else []
    fault = whole_checkpoints.fault_in(folders, label="deltal train: checksums")
    choice = whole_checkpoints.choose(folders[0], tags, fault)
    if choice is None:
        return None
    check_resumed_backend(args, choice.tag)
    if not args.deltal.allow_changed_loss:
        check_resumed_loss(settings, read_saved_loss(args.ckpt.path, choice.tag))
    check_resumed_run(args, backend, choice.tag)
    return choice
