"""Finds the reason why a run stopped, in one line."""

import re
import time
from itertools import pairwise
from pathlib import Path

from deltal_openrlhf.runs.redaction import redacted

_FRAME = re.compile(r'File "(.+)", line (\d+) in (\S+)$')
_GONE = re.compile(
    r"Connection closed by peer \[\S+\]:\d+|(?:Read|Write) error \[\S+\]:\d+: (?:Connection reset by peer|Broken pipe)"
)
"""What gloo says of a process that is gone."""
_LOG_WITHIN = 2.0
"""Seconds until a worker's last words are in the log."""


def reason(error: BaseException, log: Path | None = None) -> str:
    """The error in one line, without what Ray wraps around it. A dead worker is named, with its rank if the log knows it.

    log: the run's log file, in which every training worker has stated its rank.
    """
    text = redacted(str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    name = type(error).__name__
    if not lines:
        return name
    worker, pid = re.search(r"class_name: (\S+)", text), re.search(r"pid: (\d+)", text)
    if worker:
        if pid and log and (place := _held_lock(pid[1], log)):
            return (
                f"no reward from {place}: it blocked its process for longer than --deltal.reward_wait; worker {worker[1]} (pid {pid[1]}) "
                "ended itself, and its stacks are in the log after 'Timeout'"
            )
        who = f"pid {pid[1]}{_rank(pid[1], log)}" if pid else "pid unknown"
        cause = next(
            (line for line in reversed(lines) if line.startswith("The actor is dead")), "it was killed or crashed"
        )
        return f"worker {worker[1]} ({who}) died: {cause.split('. ')[0]}"
    if any(base.__name__ == "RayTaskError" for base in type(error).__mro__):
        return _lost_process(text, lines[-1]) or lines[-1]  # the end of the remote traceback
    return f"{name}: {' '.join(lines)}"


def _lost_process(text: str, last: str) -> str | None:
    """The meaning of a remote traceback's end if it only says that another process is gone. None for other errors."""
    if "EngineDeadError: " in last:
        return "vLLM's process EngineCore died: it was killed or crashed"
    lost, tasks = _GONE.search(last), re.findall(r"ray::([\w.]+)\(\)", text)
    if lost and tasks:  # the last task is the innermost one
        return f"the process that {tasks[-1]} exchanges tensors with died: it was killed or crashed ({lost[0]})"
    return None


def _held_lock(pid: str, log: Path) -> str | None:
    """The file, line and name of the reward function that made a worker end itself (host/reward_wait.py). None for another death."""
    end = time.monotonic() + _LOG_WITHIN
    while True:
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        said = [line for line in text.splitlines() if re.search(rf"pid={pid}[,)]", line)]
        for inner, outer in pairwise(said):
            if 'host/reward_wait.py", line' in outer and outer.endswith(" in call") and (at := _FRAME.search(inner)):
                return f"{at[1]}, line {at[2]} in {at[3]}"
        if time.monotonic() > end:
            return None
        time.sleep(0.2)


def _rank(pid: str, log: Path | None) -> str:
    if log is None or not log.exists():
        return ""
    found = re.search(rf"pid={pid}[,)].* rank (\d+): ", log.read_text(encoding="utf-8", errors="replace"))
    return f", rank {found[1]}" if found else ""
