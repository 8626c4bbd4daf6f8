"""A folder whose results grow over several runs of a command: settings.json, an append-only file of JSON lines, and a lock.

settings.json holds everything that the results depend on. A run with other settings is refused, so results are never mixed.
"""

import errno
import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from deltal_openrlhf.runs.files import write_atomically

SETTINGS, LOCK = "settings.json", ".lock"
CHECKSUMS = {
    "model_files": "another model",
    "sets": "other problems",
    "start": "another starting point",
    "files": "other contents",
}
"""Settings that are checksums by name, and how a difference in them is called."""
NO_FLAGS = ("format", "version")

Line = TypeVar("Line")
Self = TypeVar("Self", bound="Journal[Any]")


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Each difference of two settings in words, such as "--n 2, not 4", or "another model: config.json differs" (see CHECKSUMS).

    Settings are JSON objects by the names of flags. A value that is an object holds further settings.
    """
    found: list[str] = []
    for name in dict.fromkeys([*earlier, *now]):
        before, after = earlier.get(name), now.get(name)
        if before == after:
            continue
        if not all(isinstance(value, dict | None) for value in (before, after)):  # file contents may be of any kind
            found.append(f"{'' if name in NO_FLAGS else '--'}{name} {before}, not {after}")
        elif name not in CHECKSUMS:
            found += differences(before or {}, after or {})
        elif (changed := _changed_entry(before or {}, after or {})) is not None:
            found.append(f"{CHECKSUMS[name]}: {changed}")
    return found


def _changed_entry(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    name = next((name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)), None)
    if name is None:
        return None
    return f"{name} {'is missing now' if name not in after else 'is new' if name not in before else 'differs'}"


def is_begun(folder: Path, settings: Mapping[str, Any], kind: str) -> bool:
    """Whether `folder` holds settings. Raises ValueError, in one line, if they are different or broken. kind: "run", for the message."""
    path = folder / SETTINGS
    if not path.exists():
        return False
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON; take another --out") from error
    if not isinstance(earlier, dict):
        raise ValueError(f"{path}: not a JSON object; take another --out")
    if changed := differences(earlier, settings):
        raise ValueError(f"{folder}: the {kind} there was begun with {changed[0]}; take another --out, or remove it")
    return True


def begin(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write settings.json."""
    write_atomically(folder / SETTINGS, json.dumps(settings, indent=1) + "\n")


def lock(file: IO, busy: str) -> None:
    """Lock an open file until this process closes it. Raises ValueError(busy) if another process has it.

    If the file system has no locks, a line on stderr says so, because nothing would keep two processes apart.

    Processes that this one starts do not inherit the lock. It is gone as soon as the file is closed under any descriptor.
    """
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise ValueError(busy) from error
        print(
            f"{file.name}: no lock ({error.strerror}), so that two runs in one folder are not noticed", file=sys.stderr
        )


@contextmanager
def locked(folder: Path, kind: str) -> Iterator[None]:
    """Allow one process at a time in this folder, which is made if needed. Raises ValueError if there is another. kind: "comparison"."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "a") as file:
        lock(file, f"{folder}: another {kind} is writing there")
        yield


class Journal(Generic[Line]):
    """A context manager, locked by this process while it is open. lines: those that the file held when it was opened."""

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
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
        self._path, folder = path, path.parent
        folder.mkdir(parents=True, exist_ok=True)
        # Locked before anything is read: two processes would write the same results.
        self._file = open(path, "a+b")
        try:
            lock(self._file, f"{folder}: another {kind} is writing there")
            if not is_begun(folder, settings, kind):
                for name in results:
                    if (folder / name).exists() and (folder / name).stat().st_size:
                        raise ValueError(f"{folder}: holds {name} without {SETTINGS}; take another --out")
                begin(folder, settings)
            self.lines = list(self._read_back(read_line, refusal))
        except BaseException:
            self._file.close()
            raise

    def append(self, values: Iterable[Any]) -> None:
        """Write lines. A kill of the process leaves them there, a power failure only after sync()."""
        self._file.write("".join(json.dumps(value) + "\n" for value in values).encode())
        self._file.flush()

    def sync(self) -> None:
        """Wait until the lines are on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Sync, and give the lock back."""
        self.sync()
        self._file.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_back(self, read_line: Callable[[Any], Line], refusal: str) -> Iterator[Line]:
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
