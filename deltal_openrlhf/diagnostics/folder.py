"""The folder of one diagnosis. It is locked while the diagnosis runs, its settings are fixed, and its stages resume.

settings.json   what the responses and gradients depend on; the folder is refused if they differ, except that prompts may be added
journal.jsonl   finished batches of responses and gradients of single responses, with their seconds
rollouts.jsonl  responses that were sampled here (deltal_openrlhf/runs/rollouts.py)
rows.f32        (sketched) score vectors, float32 [responses, dim], one row after the other; what is missing is computed again
gram.npz        their inner products, [responses, responses] for each layer type
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deltal_openrlhf.runs.journal import SETTINGS, Journal, begin

PROG = "deltal diagnose"
JOURNAL, ROLLOUTS, ROWS, GRAM = "journal.jsonl", "rollouts.jsonl", "rows.f32", "gram.npz"


def earlier_settings(folder: Path) -> dict[str, Any]:
    """Those that the folder was begun with; empty where there are none, and where they cannot be read."""
    try:
        found = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class DiagnosisFolder(Journal[dict[str, Any]]):
    """A context manager. Each of its lines names a stage and its seconds, in this run or an earlier one."""

    def __init__(self, path: Path, settings: Callable[[int], Mapping[str, Any]], prompts: int) -> None:
        """settings: number of prompts -> what their responses and gradients depend on. The first of more prompts are the same prompts.

        A folder that was begun with fewer prompts is continued. Raises ValueError for one with more, and as Journal does.
        """
        earlier = earlier_settings(path).get("prompts")
        held = earlier if type(earlier) is int and earlier > 0 else prompts
        if held > prompts:
            raise ValueError(
                f"{path}: the diagnosis there has {held} prompts, --prompts is {prompts}; allowed are {held} and more, or another --out"
            )
        results = [JOURNAL, ROLLOUTS, ROWS, GRAM]
        super().__init__(
            path / JOURNAL, settings(held), kind="diagnosis", results=results, read_line=_stage, refusal="is broken"
        )
        self.path, self.held = path, held
        if held < prompts:
            # In this order: a kill in between leaves a folder of the smaller number that lacks a file it can make again.
            (path / GRAM).unlink(missing_ok=True)
            begin(path, settings(prompts))

    def append(self, values: Iterable[dict[str, Any]]) -> None:
        """Write lines of the journal. The caller makes sure that what they say is on the disk."""
        new = list(values)
        super().append(new)
        self.lines += new

    @contextmanager
    def stage(self, name: str, **more: Any) -> Iterator[None]:
        """Write a line with the seconds that the block took, once it is done."""
        began = time.monotonic()
        yield
        self.append([{"stage": name, **more, "seconds": time.monotonic() - began}])

    def of_stage(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["stage"] == name]

    def seconds(self) -> dict[str, float]:
        """Stage -> seconds, over all runs; what a kill lost is not in it."""
        total: dict[str, float] = {}
        for line in self.lines:
            total[line["stage"]] = total.get(line["stage"], 0.0) + line["seconds"]
        return total


def _stage(line: Any) -> dict[str, Any]:
    if not isinstance(line["stage"], str) or not isinstance(line["seconds"], float):
        raise TypeError("stage is a name, seconds a number")
    return line
