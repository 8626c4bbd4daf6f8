"""metrics.jsonl in the run folder (--ckpt.output_dir): one JSON object a PPO step, so that plots need no service."""

import json
import os

from deltal_openrlhf.files import write_atomically

NAME = "metrics.jsonl"


def read_metrics(path: str) -> list[dict]:
    """The complete lines of a metrics file, in order. A line that a kill cut short is left out."""
    rows = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                rows.append(json.loads(line))
    return rows


class MetricsFile:
    """Appends lines. A resumed run first drops the steps after its checkpoint; a fresh one moves an old file aside."""

    def __init__(self, folder: str, *, resumed_step: int) -> None:
        os.makedirs(folder, exist_ok=True)
        self.path = os.path.join(folder, NAME)
        if not os.path.exists(self.path):
            return
        if not resumed_step:
            os.replace(self.path, os.path.join(folder, "metrics.previous.jsonl"))
            return
        kept = [row for row in read_metrics(self.path) if row["step"] <= resumed_step]
        write_atomically(self.path, "".join(json.dumps(row) + "\n" for row in kept))

    def append(self, row: dict) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
