"""Checks the user's Python files: --reward.remote_url FILE.py and --train.agent_func_path.

The engines import them once Ray and vLLM run. A child process imports them before that, so that neither their code nor a hang affects the
driver. It runs this module: python -m deltal_openrlhf.train.user_files KIND FILE ANSWER
"""

import functools
import importlib.util
import inspect
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from deltal_openrlhf.agents import named as agents
from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.rewards import named
from deltal_openrlhf.runs.errors import with_kind
from deltal_openrlhf.runs.tether import tethered

IMPORT_LIMIT = 120.0
"""Seconds that the import of a file may take; that of a reward file as long as a reward, if that is longer (--deltal.reward_wait)."""
LATER = "move what takes long into the first call"
LONGER = "a larger --deltal.reward_wait allows more"


def check_user_files(args: Arguments, limit: float = IMPORT_LIMIT) -> None:
    """Raise ValueError, in one line, for a reward or agent file that cannot be imported or lacks what the host calls.

    Other checks report a missing file. Our own files have tests and need no process. limit: seconds, without --deltal.reward_wait.
    """
    agent, reward = args.train.agent_func_path, args.reward.remote_url or ""
    if agent:
        if not (agent.endswith(".py") or agents.known(agent)):
            raise ValueError(
                f"--train.agent_func_path is {agent}, allowed is a .py file with AgentExecutor, or {', '.join(agents.FILES)}"
            )
        kind, flag, path = "agent", "--train.agent_func_path", Path(agent)
    elif reward.endswith(".py"):
        kind, flag, path = "reward", "--reward.remote_url", Path(reward)
        limit = max(limit, args.deltal.reward_wait or 0)
    else:
        return
    if path.is_file() and not (named.known(str(path)) or agents.known(str(path))):
        state = path.stat()
        fault = _fault(kind, str(path), limit, (state.st_mtime_ns, state.st_size))
        if fault:
            raise ValueError(f"{flag} {path}: {fault}")


@functools.cache
def _fault(kind: str, path: str, limit: float, version: tuple[int, int]) -> str | None:
    """What is wrong with the file. version: makes the check run again once the file changes."""
    with tempfile.TemporaryDirectory() as folder:
        answer = os.path.join(folder, "answer")
        process = tethered(
            [sys.executable, "-m", __name__, kind, path, answer],
            signal.SIGKILL,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            remedies = f"{LONGER}, or {LATER}" if kind == "reward" else LATER
            return f"its import does not end within {limit:g} s; {remedies}"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what the file may have started, too
            process.wait()
        if os.path.exists(answer):
            with open(answer, encoding="utf-8") as file:
                return json.load(file)
        ended = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return f"its import ends the process ({ended})"


# ── In the child ──


def main(kind: str, path: str, answer: str) -> None:
    """Write the file's fault, or null, into the file `answer`."""
    from deltal_openrlhf import cpu
    from deltal_openrlhf.host import process

    cpu.set_environment()
    process.prepare()
    fault = look(kind, path)
    with open(answer, "w", encoding="utf-8") as file:
        json.dump(fault, file)
    os._exit(0)  # threads of the file may not end


def look(kind: str, path: str) -> str | None:
    """Import the file as the host does. Returns its fault, if any. kind: reward or agent."""
    try:
        return _CHECKS[kind](_imported(kind, path))
    except (Exception, SystemExit) as error:  # the user's code, which may raise anything
        return _said(error, path)


def _imported(kind: str, path: str) -> ModuleType:
    name = {"reward": "reward_func", "agent": "agent_module"}[kind]  # the host's names
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _said(error: BaseException, path: str) -> str:
    """The error with the line of the file that led to it."""
    path = os.path.abspath(path)  # as import notes it
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    text = with_kind(error)
    if isinstance(error, SyntaxError) and error.filename == path:
        lines, text = [error.lineno], f"{type(error).__name__}: {error.msg}"  # str(error) names file and line again
    return (f"line {lines[-1]}: " if lines else "") + text


def _check_reward(module: ModuleType) -> str | None:
    function = getattr(module, "reward_func", None)
    if not callable(function):
        return "it has no function reward_func(queries, prompts, labels)"
    if inspect.iscoroutinefunction(function):
        return "reward_func is async, allowed is a plain function"
    return _uncallable("reward_func", function, "queries", "prompts", "labels")


def _check_agent(module: ModuleType) -> str | None:
    from openrlhf.utils.agent import AgentExecutorBase

    executor: Any = getattr(module, "AgentExecutor", None)
    if not isinstance(executor, type):
        return "it has no class AgentExecutor"
    if not issubclass(executor, AgentExecutorBase):
        return "its AgentExecutor does not derive from openrlhf.utils.agent.AgentExecutorBase"
    if lacking := getattr(executor, "__abstractmethods__", None):
        return f"its AgentExecutor lacks {', '.join(sorted(lacking))}"
    return _uncallable("AgentExecutor", executor)


def _uncallable(name: str, function: Callable, *arguments: str) -> str | None:
    """What is wrong with a function that the host calls with these arguments."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        return f"{name}{inspect.signature(function)} is called with ({', '.join(arguments)}): {error}"
    except ValueError:  # of a builtin, which has no signature to look at
        return None
    return None


_CHECKS: dict[str, Callable[[ModuleType], str | None]] = {"reward": _check_reward, "agent": _check_agent}

if __name__ == "__main__":
    main(*sys.argv[1:])
