"""responses.jsonl of one evaluation: graded responses are appended as they finish, and read back when it goes on after an interruption.

Beside it, settings.json says what was evaluated and how. Responses made under other settings are never mixed.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from deltal_openrlhf.files import write_atomically

RESPONSES, SETTINGS = "responses.jsonl", "settings.json"

_SYNC_EVERY = 1.0  # seconds


class Record(NamedTuple):
    """One graded response; a line of responses.jsonl holds these fields."""

    set: str
    position: int  # of the problem in its set
    sample: int  # 0 to n - 1
    response: str
    tokens: int
    finish_reason: str  # "stop" or "length"
    answer: str | None
    status: str  # one of rewards.grader.STATUSES
    correct: bool


class ResponseStore:
    """Context manager. records: (set, position, sample) -> Record, of this and of earlier runs with the same settings."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Raises ValueError, in one line, if the folder holds an evaluation with other settings, a broken one, or one that is running.

        settings: a JSON object with everything that the responses depend on.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / RESPONSES
        # Locked before anything is read: two processes would write the same responses.
        self._file = open(self._path, "a+b")
        try:
            # A lock of this process, which the processes that it starts do not hold on to. It is gone as soon as this process closes
            # the file, under whatever descriptor: everything here goes through this one.
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise ValueError(f"{folder}: another evaluation is writing there") from error
        try:
            self._check_settings(folder, settings)
            self.records = {(r.set, r.position, r.sample): r for r in self._read_back()}
        except BaseException:
            self._file.close()
            raise
        self._synced = time.monotonic()

    def append(self, records: Iterable[Record]) -> None:
        """Write finished responses. After a kill they are there; after a power failure all but those of the last second."""
        records = list(records)
        self._file.write("".join(json.dumps(record._asdict()) + "\n" for record in records).encode())
        self._file.flush()
        if time.monotonic() - self._synced > _SYNC_EVERY:
            self._sync()
        self.records.update({(r.set, r.position, r.sample): r for r in records})

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def __enter__(self) -> "ResponseStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._sync()
        self._file.close()

    def _check_settings(self, folder: Path, settings: dict[str, Any]) -> None:
        path = folder / SETTINGS
        if not path.exists():
            if self._path.stat().st_size:
                raise ValueError(f"{folder}: holds {RESPONSES} without {SETTINGS}; take another --out")
            write_atomically(path, json.dumps(settings, indent=2) + "\n")
            return
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not JSON; take another --out") from error
        if not isinstance(earlier, dict):
            raise ValueError(f"{path}: not the settings of an evaluation; take another --out")
        changed = what_differs(earlier, settings)
        if changed:
            raise ValueError(f"{folder} holds an evaluation that was begun with {changed}; take another --out")

    def _read_back(self) -> Iterable[Record]:
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):  # killed within a line
            self._file.truncate(whole)
        for number, line in enumerate(content[:whole].splitlines(), 1):
            try:
                yield _record(json.loads(line))
            except (ValueError, TypeError, RecursionError) as error:
                raise ValueError(f"{self._path}: line {number} is no graded response; take another --out") from error


def _record(fields: Any) -> Record:
    """Raises TypeError for other fields or types."""
    record = Record(**fields)
    for name, kind in Record.__annotations__.items():
        if not isinstance(getattr(record, name), kind):
            raise TypeError(f"{name} is no {kind}")
    return record


def what_differs(earlier: dict[str, Any], now: dict[str, Any]) -> str | None:
    """The first difference of two settings in words, None if there is none."""
    for name in dict.fromkeys([*earlier, *now]):
        before, after = earlier.get(name), now.get(name)
        if before == after:
            continue
        if name == "model_files":
            return "another model: " + _changed_entry(before, after)
        if name == "sets":
            return "other problems: " + _changed_entry(before, after)
        return f"--{name} {before}, not {after}"
    return None


def _changed_entry(before: dict | None, after: dict | None) -> str:
    before, after = before or {}, after or {}
    name = next(name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name))
    how = "is missing now" if name not in after else "is new" if name not in before else "differs"
    return f"{name} {how}"
