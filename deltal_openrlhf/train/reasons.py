"""Why a run stopped, in one line."""

import re
from pathlib import Path

from deltal_openrlhf.runs.redaction import redacted


def reason(error: BaseException, log: Path | None = None) -> str:
    """The error in one line: what Ray wraps around it is left out; a worker that died is named, with its rank where the log knows it.

    log: the run's log file, in which every training worker has said its rank.
    """
    text = redacted(str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    name = type(error).__name__
    if not lines:
        return name
    worker, pid = re.search(r"class_name: (\S+)", text), re.search(r"pid: (\d+)", text)
    if worker:
        who = f"pid {pid[1]}{_rank(pid[1], log)}" if pid else "pid unknown"
        cause = next(
            (line for line in reversed(lines) if line.startswith("The actor is dead")), "it was killed or crashed"
        )
        return f"worker {worker[1]} ({who}) died: {cause.split('. ')[0]}"
    if any(base.__name__ == "RayTaskError" for base in type(error).__mro__):
        return lines[-1]  # the end of the remote traceback
    return f"{name}: {' '.join(lines)}"


def _rank(pid: str, log: Path | None) -> str:
    if log is None or not log.exists():
        return ""
    found = re.search(rf"pid={pid}[,)].* rank (\d+): ", log.read_text(encoding="utf-8", errors="replace"))
    return f", rank {found[1]}" if found else ""
