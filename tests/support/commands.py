"""Commands of ours as processes that start warm: run() and Popen are subprocess's, for [sys.executable, "-m", MODULE, ...], "-c", CODE
and SCRIPT.py.

The processes are forked from the server that rank processes come from (parity/forkserver.py): what they import is there already, which
saves nine core-seconds each. Rank processes that they ask for are forked from the same server. Own arguments, environment, folder,
streams, session, signals and exit status are as of a process that was started. What is about the start itself needs subprocess: which
modules are imported, interpreter options, .pth files, another copy of the packages, variables that libraries read when they are imported.
Where torch was built for GPUs, every process is started.
"""

import atexit
import inspect
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing import forkserver as servers
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from deltal_openrlhf import cpu
from deltal_openrlhf.parity import forkserver

TESTS = Path(__file__).parents[1]
ENVIRONMENT = dict(os.environ)
"""As of the tests' start, before one of them changes it: what the server starts with."""
READ_AT_IMPORT = (
    *("CUDA_", "DS_", "HF_", "LD_", "MPL", "NCCL_", "OMP_", "PYTHON", "RAY_", "TOKENIZERS_", "TORCH", "TQDM_"),
    *("TRANSFORMERS_", "USE_", "VLLM_"),
)
ALLOWED = {
    "PYTHONBREAKPOINT",
    "PYTHONWARNINGS",
    "RAY_CLIENT_MODE",
    "TORCHINDUCTOR_CACHE_DIR",
    "TORCHINDUCTOR_COMPILE_THREADS",
    "RAY_ADDRESS",
    "RAY_TMPDIR",
}
"""What Ray, DeepSpeed, vLLM and pytest set in a process that imports them, and what Ray reads only when it is started."""


class Popen(subprocess.Popen):
    """Raises ValueError for a command that needs a start of its own."""

    _process: Any = None

    def _execute_child(self, *given: Any) -> None:
        if not cpu.is_needed():
            return super()._execute_child(*given)
        names = inspect.signature(super()._execute_child).parameters
        told = dict(zip(names, given, strict=True))
        environment = dict(os.environ if told["env"] is None else told["env"])
        _check(told["args"], environment)
        with ExitStack() as stack:
            streams = {0: told["p2cread"], 1: told["c2pwrite"], 2: told["errwrite"]}
            descriptors = {
                number: stack.enter_context(forkserver.duplicate(number if descriptor == -1 else descriptor))
                for number, descriptor in streams.items()
            }
            arguments = (told["args"], environment, str(told["cwd"] or os.getcwd()), descriptors)
            # As a daemon it is ended with the tests; this process waits for the others.
            self._process = forkserver.context().Process(
                target=_serve, args=(*arguments, told["start_new_session"]), daemon=True
            )
            self._process.start()
        self.pid = self._process.pid
        self._child_created = True
        self._close_pipe_fds(*(told[name] for name in names if name.startswith(("p2c", "c2p", "err"))))

    def _internal_poll(self, *given: Any, **named: Any) -> int | None:
        if self._process is None:
            return super()._internal_poll(*given, **named)
        if self.returncode is None:
            self.returncode = self._process.exitcode
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        if self._process is None:
            return super()._wait(timeout)
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode


def run(
    words: Sequence[str],
    *,
    input: str | bytes | None = None,
    timeout: float | None = None,
    check: bool = False,
    capture_output: bool = False,
    **arguments: Any,
) -> subprocess.CompletedProcess:
    """subprocess.run."""
    if capture_output:
        arguments |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if input is not None:
        arguments["stdin"] = subprocess.PIPE
    with Popen(words, **arguments) as process:
        try:
            out, error = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(process.args, process.returncode, out, error)
    if check:
        done.check_returncode()
    return done


def _check(words: Sequence[str], environment: dict[str, str]) -> None:
    options = {name for name in ENVIRONMENT.keys() | environment.keys() if name.startswith(READ_AT_IMPORT)}
    changed = sorted(name for name in options - ALLOWED if ENVIRONMENT.get(name) != environment.get(name))
    if changed:
        raise ValueError(f"{', '.join(changed)}: read at import, so the command needs a process that is started")
    if words[0] != sys.executable or words[1] not in ("-m", "-c") and not str(words[1]).endswith(".py"):
        raise ValueError(f"{words[:2]}: allowed are {sys.executable} -m MODULE, -c CODE and SCRIPT.py")


def _serve(
    words: Sequence[str],
    environment: dict[str, str],
    folder: str,
    descriptors: dict[int, Connection],
    new_session: bool,
) -> NoReturn:
    if new_session:
        os.setsid()
    forkserver.become(environment, descriptors)
    os.chdir(folder)
    _be_the_first_process()
    _, *words = map(str, words)
    how, what = words[:2] if words[0] in ("-m", "-c") else ("script", words[0])
    first = {"-m": folder, "-c": "", "script": os.path.dirname(os.path.abspath(what))}[how]
    sys.path = [first, *(path for path in sys.path if not Path(path).is_relative_to(TESTS))]
    sys.argv = words if how == "script" else [how, *words[2:]]
    status = _status(how, what)
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    os._exit(status)


def _be_the_first_process() -> None:
    """Undo what multiprocessing did to a child of its own."""
    multiprocessing.current_process().daemon = False
    multiprocessing.set_start_method(None, force=True)
    # The server's address and pipe are known here. But ensure_running() looks for a child of this process, and would start another server.
    servers.ensure_running = servers._forkserver.ensure_running = resource_tracker.ensure_running
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin = os.fdopen(0, "r")
    # What a process of its own or a library writes to descriptor 1 must not come into the middle of a line.
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")


def _status(how: str, what: str) -> int:
    """Run a module, a script or code as the main program; its exit status."""
    try:
        if how == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        elif how == "script":
            runpy.run_path(what, run_name="__main__")
        else:
            sys.modules["__main__"] = main = ModuleType("__main__")
            exec(compile(what, "<string>", "exec"), vars(main))
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        print(stop.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # noqa: BLE001 - whatever it is, the interpreter prints it
        traceback.print_exc()
        return 1
    return 0
