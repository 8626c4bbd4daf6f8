"""The folder of one diagnosis: locked while it runs, its settings fixed, its stages resumed.

settings.json   what the responses and gradients depend on; with others the folder is refused
journal.jsonl   what was done, with its seconds: batches of responses, gradients of single responses
rollouts.jsonl  responses that were sampled here (deltal_openrlhf/rollouts.py)
rows.f32        (sketched) score vectors, float32 [responses, dim], one row after the other; deleted once gram.npz is there
gram.npz        their inner products, [responses, responses] for each layer type
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deltal_openrlhf.evaluation.store import what_differs
from deltal_openrlhf.files import write_atomically

SETTINGS, JOURNAL, ROLLOUTS, ROWS, GRAM = "settings.json", "journal.jsonl", "rollouts.jsonl", "rows.f32", "gram.npz"


class DiagnosisFolder:
    """Context manager. journal: the lines of this and of earlier runs."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        """Raises ValueError, in one line, if the folder holds a diagnosis with other settings, a broken one, or one that is running."""
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        # Locked before anything is read; the lock is gone when the process ends, however it ends.
        self._file = open(path / JOURNAL, "a+b")
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise ValueError(f"{path}: another diagnosis is writing there") from error
        try:
            self._check_settings(settings)
            self.journal: list[dict[str, Any]] = list(self._read_back())
        except BaseException:
            self._file.close()
            raise

    def append(self, *lines: dict[str, Any]) -> None:
        """Write lines of the journal. A kill leaves them there; the caller makes sure that what they say is on the disk."""
        self._file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
        self._file.flush()
        self.journal.extend(lines)

    def lines(self, stage: str) -> list[dict[str, Any]]:
        """Of one stage."""
        return [line for line in self.journal if line["stage"] == stage]

    def seconds(self) -> dict[str, float]:
        """Stage -> seconds, over all runs; what a kill lost is not in it."""
        total: dict[str, float] = {}
        for line in self.journal:
            total[line["stage"]] = total.get(line["stage"], 0.0) + line["seconds"]
        return total

    def __enter__(self) -> "DiagnosisFolder":
        return self

    def __exit__(self, *_: object) -> None:
        os.fsync(self._file.fileno())
        self._file.close()

    def _check_settings(self, settings: dict[str, Any]) -> None:
        path = self.path / SETTINGS
        if not path.exists():
            if any((self.path / name).exists() for name in (ROLLOUTS, ROWS, GRAM)):
                raise ValueError(f"{self.path}: holds a diagnosis without {SETTINGS}; take another --out")
            write_atomically(path, json.dumps(settings, indent=2) + "\n")
            return
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not JSON; take another --out") from error
        if not isinstance(earlier, dict):
            raise ValueError(f"{path}: not the settings of a diagnosis; take another --out")
        if changed := what_differs(earlier, settings):
            raise ValueError(f"{self.path} holds a diagnosis that was begun with {changed}; take another --out")

    def _read_back(self) -> Iterator[dict[str, Any]]:
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):  # killed within a line
            self._file.truncate(whole)
        for number, line in enumerate(content[:whole].splitlines(), 1):
            try:
                values = json.loads(line)
                if not isinstance(values["stage"], str) or not isinstance(values["seconds"], float):
                    raise TypeError("stage is a name, seconds a number")
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise ValueError(f"{self.path / JOURNAL}: line {number} is broken; take another --out") from error
            yield values


class Stopwatch:
    """Seconds since the last call."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def lap(self) -> float:
        last, self._last = self._last, time.monotonic()
        return self._last - last
