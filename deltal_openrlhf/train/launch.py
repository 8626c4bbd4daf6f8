"""`deltal train`: the host's command line with our flags and classes.

Order: device, host check, the host's parser with our flags and those of the --config files, checks of all flags (one line and exit
code 2), and only then Ray; with --dry-run a report in its place.
"""

import os
import runpy
import signal
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from deltal_openrlhf import cpu
from deltal_openrlhf.host import process
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.settings import LossSettings
from deltal_openrlhf.standins import flash_attn
from deltal_openrlhf.train import checks, config_files, dry_run, gpus
from deltal_openrlhf.train.console import QuietConsole
from deltal_openrlhf.train.flags import add_flags, fail
from deltal_openrlhf.train.processes import ProcessTracker
from deltal_openrlhf.train.reasons import reason
from megatron_ext import support

PROG = "deltal train"


def main(argv: list[str] | None = None) -> None:
    """Run the host's PPO command line. Ends the process with 0, 2 (bad flags), 130 (Ctrl-C) or 1 (anything else)."""
    argv = sys.argv[1:] if argv is None else argv
    on_cpu = cpu.is_needed()
    if on_cpu:
        os.environ.update({k: v for k, v in cpu.environment().items() if k not in os.environ})
    process.prepare()
    from deltal_openrlhf.host import bindings

    problems = bindings.check_host()
    if problems:
        fail(problems[0], PROG)
    from deltal_openrlhf.host import reward

    run = _Run(on_cpu)
    sys.argv = [PROG, *argv]
    with (
        bindings.parser_bound(run.add_flags, run.check_flags),
        bindings.host_classes_bound(lambda: run.args.backend),
        reward.engines_bound(lambda: run.args),
        run.ray_init_bound(),
    ):
        sys.exit(run.guarded(lambda: runpy.run_module(bindings.CLI_MODULE, run_name="__main__")))


class _Run:
    """One run of the host's command line."""

    def __init__(self, on_cpu: bool) -> None:
        self.on_cpu = on_cpu
        self.console: QuietConsole | None = None
        self.args: Namespace | None = None
        self.given = dry_run.Given({}, {})
        self.resumed: str | None = None
        self.ray_started = False

    def add_flags(self, parser: ArgumentParser) -> None:
        """Our flags on the host's parser, and the flags of the --config files in front of those of the command line."""
        add_flags(parser, PROG)
        try:
            sys.argv[1:], origins = config_files.expand(parser, sys.argv[1:])
        except ValueError as error:
            fail(str(error), PROG)
        self.given = dry_run.Given(origins, {dest: parser.get_default(dest) for dest in origins})

    def check_flags(self, flat: Namespace) -> None:
        """Everything that can be refused before Ray starts; announces what the run does differently from the stock host."""
        import torch
        from openrlhf.utils.config import hierarchize

        from deltal_openrlhf.host.resume import check_resumed_backend, check_resumed_loss, read_saved_loss
        from deltal_openrlhf.host.features import announcements, check_features
        from deltal_openrlhf.host.reward import check_reward_source, probe_reward_services
        from deltal_openrlhf.host.rollout_files import check_save_rollouts
        from deltal_openrlhf.train.data_files import check_data

        args = hierarchize(flat)
        if not args.dry_run and not self.on_cpu and not torch.cuda.device_count() and not _cluster_at_hand():
            fail(
                "torch was built for GPUs and sees none; submit to a Ray cluster, or make the CPU environment: scripts/setup.sh",
                PROG,
            )
        try:
            settings = LossSettings.from_args(args)
            layout = checks.check_backend(args, self.given.defaults, self.on_cpu)
            adjust_flags = cpu.adjust_flags if self.on_cpu else flash_attn.adjust_flags
            notes = [] if args.dry_run else adjust_flags(args)
            if layout is not None:
                # The host sends the same responses to this many ranks, one after the other.
                args.ds.tensor_parallel_size = layout.replica
            check_features(args, settings)
            check_reward_source(args)
            check_save_rollouts(args)
            check_data(args)
            checks.check_numbers(args)
            checks.check_placement(args)
            if not args.dry_run and not self.on_cpu and not _cluster_at_hand():
                gpus.check(args, torch.cuda.device_count(), "this machine")
            if layout is not None:
                support.check_model(args, layout)
            if not args.dry_run:
                checks.check_files(args)
            saved = read_saved_loss(args.ckpt.path) if args.ckpt.load_enable else None
            if saved is not None:
                check_resumed_backend(args, saved[0])
                if not args.deltal.allow_changed_loss:
                    check_resumed_loss(settings, saved[1])
            if not args.dry_run:
                probe_reward_services(args)
        except ValueError as error:
            fail(config_files.with_origin(str(error), self.given.origins), PROG)
        for key in vars(flat):
            setattr(flat, key, cpu.lookup(args, key))
        self.args = args
        self.resumed = saved[0] if saved is not None else None
        if args.dry_run:
            return
        if self.on_cpu:
            print(f"{PROG}: no CUDA here, running on the CPU ({'; '.join(notes) or 'no flag changed'})", flush=True)
        else:
            for note in notes:
                print(f"{PROG}: {note}", flush=True)
        print(f"{PROG}: {settings.describe()}", flush=True)
        if layout is not None:
            print(f"{PROG}: Megatron: {checks.describe_layout(layout, args)}", flush=True)
        if settings.mode == "deltal" and args.actor.max_norm > 0:
            print(
                f"{PROG}: ∆L's gradients are about mean length / M of token-mean's; --actor.max_norm {args.actor.max_norm:g} may never "
                "bind (metric deltal/clip_share)",
                flush=True,
            )
        if settings.mode == "deltal" and args.train.dynamic_batch_enable:
            print(
                f"{PROG}: --train.dynamic_batch_enable: the host sorts each rollout by length and takes optimizer steps in that order, so "
                "steps differ in length; static micro batches (without the flag) take them at random",
                flush=True,
            )
        if saved is not None:
            print(f"{PROG}: going on from checkpoint {saved[0]} in {args.ckpt.path}", flush=True)
        mended = announcements(args)
        if self.on_cpu:
            print(
                f"{PROG}: {len(mended)} known faults of OpenRLHF are mended in this run, the log lists them", flush=True
            )
            self.console = QuietConsole(Path(args.ckpt.output_dir))
        for line in mended:
            print(f"{PROG}: host fault mended: {line}", flush=True)

    def ray_init_bound(self):
        """The host's ray.init, after all its checks: a dry run ends there, workers get process.prepare, a CPU logical GPUs."""
        import ray

        host_init = ray.init

        def init(*args, runtime_env=None, **kwargs):
            if self.args.dry_run:
                settings = LossSettings.from_args(self.args)
                print(dry_run.report(self.args, settings, self.given, self.on_cpu, self.resumed), flush=True)
                sys.exit(0)
            self.ray_started = True
            ours = cpu.ray_init_arguments(gpus.total(self.args)) if self.on_cpu else {"runtime_env": {}}
            given, own = runtime_env or {}, ours.pop("runtime_env")
            variables = {**given.get("env_vars", {}), **own.get("env_vars", {})}
            merged = {**given, **own, "env_vars": variables, "worker_process_setup_hook": process.SETUP_HOOK}
            connection = host_init(*args, runtime_env=merged, **ours, **kwargs)
            gpus.check_cluster(self.args)
            return connection

        return rebound(ray, "init", init)

    def guarded(self, run) -> int:
        """Run, and whatever happens leave no process behind and say the reason and the log last."""
        signal.signal(signal.SIGTERM, _raise_interrupt)
        tracker = ProcessTracker()
        why, code = None, 0
        try:
            run()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
        except KeyboardInterrupt:
            why, code = "interrupted", 130
        except BaseException as error:  # noqa: BLE001 - reported below and turned into the exit code
            why, code = reason(error, self.console and self.console.log_path), 1
            if isinstance(error, AssertionError) and self.args is not None and not self.ray_started:
                why, code = f"OpenRLHF refuses these flags: {error}", 2
            elif isinstance(error, gpus.NotThere):
                why, code = str(error), 2
            else:
                _print_traceback()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave processes behind
        tracker.stop_ray()
        if self.console:
            self.console.close()
        if code == 0 and self.ray_started:
            print(f"{PROG}: done; model and metrics.jsonl are in {self.args.ckpt.output_dir}", flush=True)
        if why:
            where = f"; log: {self.console.log_path}" if self.console else ""
            print(f"{PROG}: stopped: {why}{where}", file=sys.stderr, flush=True)
        return code


def _cluster_at_hand() -> bool:
    """Whether ray.init would join a running cluster, which may have GPUs elsewhere."""
    return bool(os.environ.get("RAY_ADDRESS")) or os.path.exists("/tmp/ray/ray_current_cluster")


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()
    sys.stderr.flush()


def _raise_interrupt(signum, frame) -> None:
    raise KeyboardInterrupt
