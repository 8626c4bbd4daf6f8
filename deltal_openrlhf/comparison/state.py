"""The folder of a run: settings.json (everything that it depends on), metrics.jsonl, evals.jsonl, console.txt, and result.json after its
end.
"""

import functools
import json
import shutil
from pathlib import Path
from typing import Any

from deltal_openrlhf import __version__
from deltal_openrlhf.comparison.grid import START, Job
from deltal_openrlhf.models.checkpoint import checksum, checksums
from deltal_openrlhf.rewards import named
from deltal_openrlhf.runs import journal
from deltal_openrlhf.runs.files import write_atomically
from deltal_openrlhf.runs.journal import SETTINGS

RESULT, CONSOLE = "result.json", "console.txt"
FORMAT = 1
FILE_FLAGS = ("data.prompt_dataset", "eval.dataset", "reward.remote_url")


class Settings:
    """Everything that each run depends on. Starts and data files are hashed once."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._of_start, self._of_file = functools.cache(checksums), functools.cache(checksum)

    def of(self, job: Job) -> dict[str, Any]:
        """The settings of a run as JSON. They name the content of the start, not its path."""
        flags = {name: job.flags[name] for name in sorted(job.flags) if name != START}
        return {
            "format": FORMAT,
            "version": __version__,
            "engine": self._engine,
            "flags": flags,
            "start": self._of_start(Path(job.start)),
            "files": {flag: self._of_file(path) for flag in FILE_FLAGS if (path := _file(flags.get(flag)))},
        }


def _file(value: Any) -> Path | None:
    """The local file that a flag names, if it names one."""
    path = Path(named.located(value)) if isinstance(value, str) else None
    return path if path and path.is_file() else None


def earlier_result(folder: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The result.json of a run with these settings. None if it has not ended. Raises ValueError if it was begun with other settings."""
    if not (journal.is_begun(folder, settings, "run") and (folder / RESULT).exists()):
        return None
    return json.loads((folder / RESULT).read_text(encoding="utf-8"))


def is_interrupted(folder: Path) -> bool:
    """Whether a run began here and has neither ended nor crashed."""
    return (folder / SETTINGS).exists() and not (folder / RESULT).exists()


def begin(folder: Path, settings: dict[str, Any], *, keep: bool) -> None:
    """Prepare the folder for a run. keep: what to keep of an interrupted run; the rest is removed."""
    if not keep and folder.exists():
        # First, so that what a kill leaves of the rest is not taken for an interrupted run.
        (folder / SETTINGS).unlink(missing_ok=True)
        shutil.rmtree(folder)
    journal.begin(folder, settings)


def end(folder: Path, result: dict[str, Any]) -> None:
    write_atomically(folder / RESULT, json.dumps(result, ensure_ascii=False) + "\n")
