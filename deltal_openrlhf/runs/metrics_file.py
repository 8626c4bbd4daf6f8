"""metrics.jsonl in the run folder (--ckpt.output_dir): one JSON object a PPO step, so that plots need no service.

evals.jsonl next to it: one JSON object an evaluation (--eval.dataset, --eval.steps).
"""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

from deltal_openrlhf.runs.files import named, write_atomically

NAME = "metrics.jsonl"
EVALS = "evals.jsonl"


def read_metrics(path: str | Path) -> list[dict]:
    """The complete lines of a metrics file, in order; none where there is no file. A last line that a kill cut short is left out.

    Raises ValueError, in one line, with file and number of a line that is broken.
    """
    if not os.path.exists(path):
        return []
    with open(path, "rb") as file:
        return [_row(line, f"{path}: line {number}") for number, line in enumerate(file, 1) if line.endswith(b"\n")]


def _row(line: bytes, where: str) -> dict:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:  # not UTF-8, or not JSON
        raise ValueError(f"{where} is broken (not JSON); repair it, or move the file away") from error
    if not isinstance(row, dict) or "step" not in row:
        raise ValueError(f"{where} is broken (no JSON object with a step); repair it, or move the file away")
    return row


SILENT_STEPS = 5
_CAUSES = {"grade/unparsable": "without an answer to grade", "rollout/truncated_rate": "cut off"}


def silence(rows: Sequence[dict]) -> str | None:
    """What to say after exactly SILENT_STEPS steps in a row in which no prompt gave a signal; else None."""
    silent = [row.get("deltal/groups_without_signal") == 1 for row in rows[-SILENT_STEPS - 1 :]]
    if len(silent) < SILENT_STEPS or not all(silent[-SILENT_STEPS:]) or (len(silent) > SILENT_STEPS and silent[0]):
        return None
    last = rows[-1]
    shares = [f"{last[key]:.0%} {name}" for key, name in _CAUSES.items() if last.get(key)]
    return (
        f"no prompt gave a signal in {SILENT_STEPS} steps: all answers to a prompt had the same reward, so nothing is learned"
        + (f" (of the last responses {', '.join(shares)})" if shares else "")
    )


class MetricsFile:
    """Appends lines, each on the disk before append() returns.

    A resumed run first drops the steps after its checkpoint; a fresh one moves an old file aside.
    """

    def __init__(self, folder: str, *, resumed_step: int, name: str = NAME) -> None:
        os.makedirs(folder, exist_ok=True)
        self.path = os.path.join(folder, name)
        if not os.path.exists(self.path):
            return
        rows = read_metrics(self.path)
        if resumed_step:
            write_atomically(self.path, "".join(json.dumps(row) + "\n" for row in rows if row["step"] <= resumed_step))
        else:
            begun = int(rows[0]["time"]) if rows else 0
            os.replace(self.path, os.path.join(folder, f"{name.removesuffix('.jsonl')}.{begun}.jsonl"))

    def append(self, row: dict) -> None:
        # JSON has no NaN, and the host's means over nothing are NaN.
        finite = {k: v if not isinstance(v, float) or math.isfinite(v) else None for k, v in row.items()}
        with named(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(finite, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
