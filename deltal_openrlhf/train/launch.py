"""`deltal train`: the host's command line with our flags and classes.

Order: device, host check, the host's parser with our flags and those of the --config files, checks of all flags (one line and exit
code 2), and only then torch, the host's trainers and Ray; with --dry_run a report in their place.
"""

import gc
import importlib
import io
import sys
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from deltal_openrlhf import cpu
from deltal_openrlhf.host import bindings, command_line, process, published, remote_code
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.settings import OtherMode
from deltal_openrlhf.runs.command import FAILED, flags_of, underscored
from deltal_openrlhf.runs.faults import Faults, Refused
from deltal_openrlhf.runs.leftovers import Leftovers
from deltal_openrlhf.runs.reader import READER_LEFT, reader_left, until_reader_leaves
from deltal_openrlhf.runs.redaction import redacted
from deltal_openrlhf.train import config_files, gpus, recipes
from deltal_openrlhf.train.command_words import usable
from deltal_openrlhf.train.console import QuietConsole
from deltal_openrlhf.train.flags import add_flags, fail
from deltal_openrlhf.train.processes import ProcessTracker
from deltal_openrlhf.train.reasons import reason
from deltal_openrlhf.train.signals import Signals
from deltal_openrlhf.train.stall import StallWatch

if TYPE_CHECKING:
    from deltal_openrlhf.train.start import Start

PROG = "deltal train"
HOST_REFUSES = "OpenRLHF refuses these flags: "


def main(argv: list[str] | None = None) -> None:
    """Run the host's PPO command line.

    Ends the process with 0, 2 (bad flags), 130 (Ctrl-C), 143 (SIGTERM or SIGUSR1, see signals.exit_status), 141 (nobody reads its output
    any more) or 1 (anything else).
    """
    argv = sys.argv[1:] if argv is None else argv
    run = _Run()
    status = until_reader_leaves(lambda: run.guarded(lambda: _train(run, argv)))
    gc.freeze()  # else Python walks all that was imported once more as it ends, for over a second
    sys.exit(status)


def _train(run: "_Run", argv: list[str]) -> None:
    cpu.set_environment()
    process.prepare()
    remote_code.choose(trust=False)  # until the flags are read
    if problems := published.problems_of_host():
        fail(problems[0], prog=PROG)
    run.on_cpu = cpu.is_needed()
    sys.argv = [PROG, *argv]
    with bindings.parser_bound(run.add_flags, run.check_flags):
        try:
            args = run.parsed()
        except command_line.Changed as error:
            fail(str(error), prog=PROG)
        except Refused as refused:
            fail(*(run.told(fault) for fault in refused.faults), prog=PROG)
    if args.dry_run:
        from deltal_openrlhf.train import dry_run

        print(dry_run.report(run.start, dry_run.Given(run.origins, run.defaults)), flush=True)
        return
    from deltal_openrlhf.host import reward  # imports torch, Ray, vLLM and DeepSpeed

    if problems := bindings.check_host():  # files say what is installed, this what is imported
        fail(problems[0], prog=PROG)
    with (
        bindings.host_classes_bound(lambda: run.start.backend),
        reward.engines_bound(lambda: run.start.args),
        run.ray_init_bound(),
    ):
        importlib.import_module(bindings.CLI_MODULE).train(args)


class _Run:
    """One run of the host's command line."""

    start: "Start"
    """The checked flags: there once the host's parser has read them."""

    on_cpu = False

    def __init__(self) -> None:
        self.signals = Signals()
        self.stall: StallWatch | None = None
        self.leftovers: Leftovers | None = None
        self.console: QuietConsole | None = None
        self.origins: dict[str, str] = {}
        self.defaults: dict[str, Any] = {}
        self.ray_started = False
        self.faults = Faults()
        self.given: Any = None
        self.silence = ExitStack()

    def add_flags(self, parser: ArgumentParser) -> None:
        """Our flags on the host's parser, and the flags of the --config files in front of those of the command line."""
        add_flags(parser, PROG)
        words = usable(parser, underscored(sys.argv[1:], flags_of(parser)), self.faults)
        try:
            sys.argv[1:], self.origins = config_files.expand(parser, words, self.faults)
        except Refused as unread:
            self.faults.add(unread)
            raise
        self.defaults = {dest: parser.get_default(dest) for dest in self.origins}

    def parsed(self) -> SimpleNamespace:
        """The host's arguments, checked by us and by the host. Raises Refused with what both find."""
        args = None
        with ExitStack() as self.silence:
            try:
                args = command_line.parse()
            except Exception as error:
                if not self.faults or isinstance(error, command_line.Changed):
                    raise
                # The host refuses flags by assertions. What else it raises now may come from what we refused before.
                if isinstance(error, AssertionError):
                    self.faults.add(ValueError(f"{HOST_REFUSES}{error}"))
        self.faults.refuse()
        assert args is not None
        return args

    def told(self, fault: ValueError) -> str:
        """The line about a fault, with the place in a file, and the recipe for another loss."""
        message = config_files.with_origin(str(fault), self.origins)
        recipe = recipes.recipe_with_mode(self.given) if isinstance(fault, OtherMode) and self.given else None
        return (
            f"{message}; --config {recipe} is the recipe with {self.given.actor.loss_agg_mode}" if recipe else message
        )

    def check_flags(self, flat: Namespace) -> None:
        """Check all flags, put what was changed back into the host's flat ones, and announce the run."""
        remote_code.choose(getattr(flat, "deltal.trust_remote_code"))
        self.given = given = command_line.hierarchize(flat)
        from deltal_openrlhf.host.faults import announcements
        from deltal_openrlhf.train import start

        try:
            self.start = start.check(given, self.defaults, self.on_cpu, self.faults)
        except ValueError as error:
            self.faults.add(error)
            self.silence.enter_context(
                redirect_stdout(io.StringIO())
            )  # the host's warnings about a run that will not be
            return
        args = self.start.args
        for key in vars(flat):
            setattr(flat, key, cpu.lookup(args, key))
        if args.dry_run:
            return
        if self.start.is_finished:
            _say(
                f"this run has ended, its model is in {args.ckpt.output_dir}: nothing was done; a larger --train.num_episodes trains "
                "further, another --ckpt.path and --ckpt.output_dir start anew"
            )
            sys.exit(0)
        _say(*self.start.lines(), *self.start.warnings())
        mended = announcements(args)
        if self.on_cpu:
            _say(f"{len(mended)} known faults of OpenRLHF are mended in this run, the log lists them")
            self.console = QuietConsole(Path(args.ckpt.output_dir))
            _say(*self.start.warnings())  # into the log too
        _say(*(f"fault of OpenRLHF mended: {line}" for line in mended))

    def ray_init_bound(self) -> AbstractContextManager[None]:
        """The host's ray.init, after all its checks: workers get process.prepare, a CPU logical GPUs."""
        import ray

        host_init = ray.init

        def init(*given: Any, runtime_env: dict[str, Any] | None = None, **options: Any) -> Any:
            args = self.start.args
            self.ray_started = True
            ours: dict[str, Any] = {"runtime_env": {}}
            if self.on_cpu:
                ours = cpu.ray_init_arguments(gpus.total(args), self.start.threads)
            hosts, own = runtime_env or {}, ours["runtime_env"]
            variables = {**hosts.get("env_vars", {}), **own.get("env_vars", {}), **remote_code.variables()}
            self.leftovers = Leftovers()
            variables |= self.leftovers.variables()
            merged = {**hosts, **own, "env_vars": variables, "worker_process_setup_hook": process.SETUP_HOOK}
            with self.signals.kept():
                connection = host_init(*given, **{**options, **ours, "runtime_env": merged})
            gpus.check_cluster(args)
            self._watch()
            return connection

        return rebound(ray, "init", init)

    def _watch(self) -> None:
        """Once Ray runs: what a signal and a run that stands still do."""
        from deltal_openrlhf.host import alive
        from deltal_openrlhf.train.last_save import LastSave

        args = self.start.args
        self.signals.watch(args.deltal.grace, self.console.say if self.console else _say, LastSave(args))
        if args.deltal.stall_timeout:
            self.stall = StallWatch(
                args.deltal.stall_timeout, alive.last_sign, lambda why: self.signals.interrupt(why, FAILED)
            )

    def guarded(self, run: Callable[[], Any]) -> int:
        """Run, and whatever happens leave no process behind and say the reason and the log last."""
        tracker = ProcessTracker()
        why, code = None, 0
        try:
            try:
                run()
            finally:
                self.signals.end()  # from here on one must not leave processes behind
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
        except KeyboardInterrupt:
            why, code = self.signals.verdict()
        except BaseException as error:  # noqa: BLE001 - reported below and turned into the exit code
            why, code = reason(error, self.console.log_path if self.console else None), FAILED
            if self.signals.came:
                why, code = self.signals.stopped(error, why)
            elif reader_left(error):
                why, code = "nobody reads its output any more" if self.ray_started else None, READER_LEFT
            elif isinstance(error, AssertionError) and hasattr(self, "start") and not self.ray_started:
                why, code = f"{HOST_REFUSES}{error}", 2
            elif isinstance(error, gpus.NotThere):
                why, code = str(error), 2
            else:
                print(redacted(traceback.format_exc()), end="", file=sys.stderr, flush=True)
        if self.stall:
            self.stall.stop()
        tracker.stop_ray()
        if self.leftovers:
            self.leftovers.remove()
        if self.console:
            self.console.close()
        if code == 0 and self.ray_started:
            _say(f"done; model and metrics.jsonl are in {self.start.args.ckpt.output_dir}")
        if why:
            where = f"; log: {self.console.log_path}" if self.console else ""
            print(f"{PROG}: stopped: {why}{where}", file=sys.stderr, flush=True)
        return code


def _say(*lines: str) -> None:
    for line in lines:
        print(f"{PROG}: {line}", flush=True)
