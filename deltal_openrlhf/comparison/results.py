"""The metrics that a run has left."""

from pathlib import Path

from deltal_openrlhf.runs.metrics_file import EVALS, NAME, read_metrics


def read_run(folder: Path) -> tuple[list[dict], list[dict]]:
    """(rows of metrics.jsonl, rows of evals.jsonl). No evaluations: an empty list."""
    evals = folder / EVALS
    return read_metrics(str(folder / NAME)), read_metrics(str(evals)) if evals.exists() else []
