"""The folder of a run: settings.json (all that it depends on), metrics.jsonl, evals.jsonl, console.txt; result.json once it ended."""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deltal_openrlhf import __version__
from deltal_openrlhf.comparison.grid import START, Job
from deltal_openrlhf.models.checkpoint import checksums
from deltal_openrlhf.runs.files import write_atomically
from deltal_openrlhf.runs.journal import SETTINGS

RESULT, CONSOLE = "result.json", "console.txt"
FORMAT = 1
FILE_FLAGS = ("data.prompt_dataset", "eval.dataset", "reward.remote_url")
LOCK = ".lock"


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """One process at a time in this folder. Raises ValueError where another one is."""
    out.mkdir(parents=True, exist_ok=True)
    with open(out / LOCK, "a") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(f"--out {out}: another comparison is running there") from error
        yield


class Settings:
    """What runs depend on. Checksums of starts and data files are taken once."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._starts: dict[str, dict[str, str]] = {}
        self._files: dict[str, str] = {}

    def of(self, job: Job) -> dict[str, Any]:
        """JSON. The start is in it by its content, not by its path."""
        flags = {name: job.flags[name] for name in sorted(job.flags) if name != START}
        if job.start not in self._starts:
            self._starts[job.start] = checksums(Path(job.start))
        return {
            "format": FORMAT,
            "version": __version__,
            "engine": self._engine,
            "flags": flags,
            "start": self._starts[job.start],
            "files": {flag: self._checksum(flags[flag]) for flag in FILE_FLAGS if _is_file(flags.get(flag))},
        }

    def _checksum(self, path: str) -> str:
        if path not in self._files:
            self._files[path] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        return self._files[path]


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and Path(value).is_file()


def earlier_result(folder: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """result.json of a run with these settings, None if it has not ended. Raises ValueError if it was begun with other settings."""
    if not (folder / SETTINGS).exists():
        return None
    earlier = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    if earlier != settings:
        raise ValueError(
            f"{folder} holds a run that was begun with {_difference(earlier, settings)}; take another --out, or remove that folder"
        )
    return read_result(folder)


def read_result(folder: Path) -> dict[str, Any] | None:
    path = folder / RESULT
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def is_interrupted(folder: Path) -> bool:
    """Whether a run was begun here and neither ended nor crashed."""
    return (folder / SETTINGS).exists() and not (folder / RESULT).exists()


def begin(folder: Path, settings: dict[str, Any], *, keep: bool) -> None:
    """Make the folder ready for a run. keep: what an interrupted run has left, else it is removed."""
    if not keep and folder.exists():
        # First, so that what a kill leaves of the rest is not taken for an interrupted run.
        (folder / SETTINGS).unlink(missing_ok=True)
        shutil.rmtree(folder)
    write_atomically(folder / SETTINGS, json.dumps(settings, indent=1, ensure_ascii=False) + "\n")


def end(folder: Path, result: dict[str, Any]) -> None:
    write_atomically(folder / RESULT, json.dumps(result, ensure_ascii=False) + "\n")


def _difference(earlier: dict[str, Any], now: dict[str, Any]) -> str:
    """The first difference in words."""
    before, after = earlier.get("flags", {}), now["flags"]
    for flag in sorted({*before, *after}):
        if before.get(flag) != after.get(flag):
            return f"--{flag} {before.get(flag)}, not {after.get(flag)}"
    for kind, what in (("start", "another starting point"), ("files", "another content of")):
        before, after = earlier.get(kind, {}), now[kind]
        names = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
        if names:
            return f"{what}: {names[0]}" if kind == "start" else f"{what} --{names[0]}"
    name = next(name for name in ("engine", "version", "format") if earlier.get(name) != now[name])
    return f"{name} {earlier.get(name)}, not {now[name]}"
