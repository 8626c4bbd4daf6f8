"""A folder of results that go on after an interruption: an append-only file of JSON lines, and settings.json beside it.

settings.json says what the results depend on. What was begun under other settings is refused, never mixed.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Generic, TypeVar

from deltal_openrlhf.runs.files import write_atomically

SETTINGS = "settings.json"

Line = TypeVar("Line")


class Journal(Generic[Line]):
    """Locked by this process while it is open. lines: those that it held when it was opened."""

    def __init__(
        self,
        path: Path,
        settings: dict[str, Any],
        *,
        kind: str,
        results: Iterable[str],
        read_line: Callable[[Any], Line],
        refusal: str,
    ) -> None:
        """Raises ValueError, in one line, if the folder holds results with other settings, broken ones, or another process writes there.

        Args:
            path: of the file, in the folder.
            settings: a JSON object with everything that the results depend on.
            kind: what the folder holds, for messages: "evaluation".
            results: names of files that are not there before settings.json is.
            read_line: makes a Line of a JSON value; raises ValueError, TypeError or KeyError for one that is none.
            refusal: the end of the message about such a line: "is broken".
        """
        self._path, self._kind = path, kind
        path.parent.mkdir(parents=True, exist_ok=True)
        # Locked before anything is read: two processes would write the same results.
        self._file = open(path, "a+b")
        try:
            # A lock of this process, which the processes that it starts do not hold on to. It is gone as soon as this process closes
            # the file, under whatever descriptor: everything here goes through this one.
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise ValueError(f"{path.parent}: another {kind} is writing there") from error
        try:
            self._check_settings(settings, results)
            self.lines = list(self._read_back(read_line, refusal))
        except BaseException:
            self._file.close()
            raise

    def append(self, values: Iterable[Any]) -> None:
        """Write lines. A kill of the process leaves them there, a power failure only after sync()."""
        self._file.write("".join(json.dumps(value) + "\n" for value in values).encode())
        self._file.flush()

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self.sync()
        self._file.close()

    def _check_settings(self, settings: dict[str, Any], results: Iterable[str]) -> None:
        folder, path = self._path.parent, self._path.parent / SETTINGS
        if not path.exists():
            for name in results:
                if (folder / name).exists() and (folder / name).stat().st_size:
                    raise ValueError(f"{folder}: holds {name} without {SETTINGS}; take another --out")
            write_atomically(path, json.dumps(settings, indent=2) + "\n")
            return
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not JSON; take another --out") from error
        if not isinstance(earlier, dict):
            raise ValueError(f"{path}: not a JSON object; take another --out")
        if changed := what_differs(earlier, settings):
            raise ValueError(f"{folder}: its {self._kind} was begun with {changed}; take another --out")

    def _read_back(self, read_line: Callable[[Any], Line], refusal: str) -> Iterable[Line]:
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):  # killed within a line
            self._file.truncate(whole)
        for number, text in enumerate(content[:whole].splitlines(), 1):
            try:
                yield read_line(json.loads(text))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise ValueError(f"{self._path}: line {number} {refusal}; take another --out") from error


def what_differs(earlier: dict[str, Any], now: dict[str, Any]) -> str | None:
    """The first difference of two settings in words, None if there is none. Their names are those of flags, or model_files and sets."""
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
