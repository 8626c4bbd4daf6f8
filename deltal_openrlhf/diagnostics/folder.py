"""The folder of one diagnosis: locked while it runs, its settings fixed, its stages resumed.

settings.json   what the responses and gradients depend on; with others the folder is refused
journal.jsonl   what was done, with its seconds: batches of responses, gradients of single responses
rollouts.jsonl  responses that were sampled here (deltal_openrlhf/runs/rollouts.py)
rows.f32        (sketched) score vectors, float32 [responses, dim], one row after the other; deleted once gram.npz is there
gram.npz        their inner products, [responses, responses] for each layer type
"""

import time
from pathlib import Path
from typing import Any

from deltal_openrlhf.runs.journal import Journal

JOURNAL, ROLLOUTS, ROWS, GRAM = "journal.jsonl", "rollouts.jsonl", "rows.f32", "gram.npz"


class DiagnosisFolder:
    """Context manager. journal: the lines of this and of earlier runs."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        """Raises ValueError as Journal does."""
        self.path = path
        self._file = Journal(
            path / JOURNAL,
            settings,
            kind="diagnosis",
            results=[JOURNAL, ROLLOUTS, ROWS, GRAM],
            read_line=_stage,
            refusal="is broken",
        )
        self.journal: list[dict[str, Any]] = list(self._file.lines)

    def append(self, *lines: dict[str, Any]) -> None:
        """Write lines of the journal. The caller makes sure that what they say is on the disk."""
        self._file.append(lines)
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
        self._file.close()


def _stage(line: Any) -> dict[str, Any]:
    if not isinstance(line["stage"], str) or not isinstance(line["seconds"], float):
        raise TypeError("stage is a name, seconds a number")
    return line


class Stopwatch:
    """Seconds since the last call."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def lap(self) -> float:
        last, self._last = self._last, time.monotonic()
        return self._last - last
