"""Checks every set of flags, and what the loop reads with them, before anything starts.

The check runs in a process of its own, which imports the host, so the parent stays small.

`python -m deltal_openrlhf.comparison.checks ENGINE` reads a list of flag sets (JSON) from stdin. It writes a list of messages, with null
for a set that is not refused.
"""

import contextlib
import io
import json
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from subprocess import PIPE
from typing import Any

from deltal_openrlhf import cpu
from deltal_openrlhf.comparison.grid import Job
from deltal_openrlhf.host.process import prepare
from deltal_openrlhf.runs.tether import tethered


def check_flags(engine: str, jobs: Sequence[Job]) -> None:
    """Raise ValueError, in one line, for the first of these runs whose flags the engine or `deltal train` refuses."""
    words = [sys.executable, "-m", __spec__.name, engine]
    process = tethered(words, signal.SIGKILL, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True)
    try:
        out, err = process.communicate(json.dumps([job.flags for job in jobs]))
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        reason = (err.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise RuntimeError(f"the flags could not be checked: {reason}")
    for job, message in zip(jobs, json.loads(out.splitlines()[-1]), strict=True):
        if message:
            raise ValueError(f"arm {job.arm.name!r}, method {job.method!r}, start {job.start}: {message}")


def main(engine: str) -> None:
    cpu.set_environment()
    prepare()
    check = {"loop": _loop_message, "pipeline": _pipeline_message}[engine]
    messages = [check(flags) for flags in json.loads(sys.stdin.read())]
    print(json.dumps(messages))


def _loop_message(flags: Mapping[str, Any]) -> str | None:
    from deltal_openrlhf.comparison import inputs
    from deltal_openrlhf.comparison.arguments import READ, check_loop_flags
    from deltal_openrlhf.rewards.reward_file import load_reward_function

    try:
        args, _ = check_loop_flags(flags)
    except ValueError as error:
        return _without_place(str(error))
    start, reward_file = args.actor.model_name_or_path, args.reward.remote_url
    assert reward_file is not None  # check_loop_flags
    return (
        _once(("model", start), lambda: inputs.check_architecture(start))
        or _once(("reward", reward_file), lambda: load_reward_function("--reward.remote_url", reward_file))
        or _once(tuple(cpu.lookup(args, flag) for flag in sorted(READ)), lambda: inputs.Inputs(args))
    )


_said: dict[tuple, str | None] = {}


def _once(key: tuple, check: Callable[[], Any]) -> str | None:
    """The refusal of the check, if any. Runs that read the same files are checked once, because prompts may be many and a reward file is
    executed.
    """
    if key not in _said:
        try:
            check()
            _said[key] = None
        except ValueError as error:
            _said[key] = str(error)
    return _said[key]


def _pipeline_message(flags: Mapping[str, Any]) -> str | None:
    """What `deltal train --dry_run` refuses, or the first missing file, which a dry run only notes."""
    from deltal_openrlhf.comparison.arguments import flags_file, read_flags
    from deltal_openrlhf.train import launch
    from deltal_openrlhf.train.data_files import missing_files

    said = io.StringIO()
    with flags_file(flags) as file, contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            launch.main(["--config", file, "--dry_run"])
        except SystemExit as stop:
            code = stop.code
    if code:
        begin = "deltal train: error: "
        found = [line.removeprefix(begin) for line in said.getvalue().splitlines() if line.startswith(begin)]
        return "; ".join(_without_place(line.replace(f"{file}:", "line ")) for line in found) or f"exit code {code}"
    missing = missing_files(read_flags(flags)[0])
    return missing[0] if missing else None


def _without_place(message: str) -> str:
    """The message without the line of a file that the user never saw. The user knows the flags by their names."""
    return re.sub(r" \(set in line \d+\)|^line \d+: ", "", message)


if __name__ == "__main__":
    main(sys.argv[1])
