"""The measures of one training run, and the mean of several runs with its 95 % interval.

Accuracy is the mean reward of a step's responses. Intervals are Student's t over runs.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deltal_openrlhf.runs.metrics_file import EVALS, NAME, read_metrics
from deltal_openrlhf.statistics import student

ACCURACY = "rollout/reward_mean"
METRICS = {
    "accuracy": ACCURACY,
    "length": "rollout/response_length_mean",
    "entropy": "entropy_loss",
    "grad_norm": "deltal/grad_norm",
    "clip_share": "deltal/clip_share",
}
"""The metrics that a comparison looks at, and their names in metrics.jsonl."""
LAST_SHARE = 5
"""Means over the end of a run take its last fifth."""
SMOOTHING = 10
"""The window of the smoothed accuracy curve is a tenth of the steps."""

Rows = Sequence[Mapping[str, Any]]
Series = dict[int, float]
"""step -> value"""


def read_run(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of a run's metrics.jsonl and evals.jsonl. The latter are empty if the file is missing."""
    evals = folder / EVALS
    return read_metrics(str(folder / NAME)), read_metrics(str(evals)) if evals.exists() else []


def series(rows: Rows, name: str) -> Series:
    """A metric by step, without the steps that have none."""
    return {row["step"]: float(row[name]) for row in rows if row.get(name) is not None}


def held_out(evals: Rows) -> Series:
    """Accuracy on --eval.dataset by step: the mean over its data sources of the host's eval_<datasource>_pass1."""
    found = {}
    for row in evals:
        values = [value for key, value in row.items() if re.fullmatch(r"eval_.+_pass1", key) and value is not None]
        if values:
            found[row["step"]] = math.fsum(values) / len(values)
    return found


def measures(rows: Rows, evals: Rows) -> dict[str, float | None]:
    """The numbers of one run. None stands for a metric that the run does not have.

    final         held-out accuracy after the last evaluation; without any, the mean accuracy of the last fifth of the steps
    auc           mean accuracy over all steps
    largest_drop  largest fall of the smoothed accuracy below its running maximum
    monotonicity  Spearman's rho of accuracy with step
    length, entropy, grad_norm, clip_share    means over the last fifth
    """
    found, evaluated = {name: series(rows, metric) for name, metric in METRICS.items()}, held_out(evals)
    accuracy = found.pop("accuracy")
    values = list(accuracy.values())
    return {
        "final": evaluated[max(evaluated)] if evaluated else _end(accuracy),
        "auc": float(np.mean(values)) if values else None,
        "largest_drop": largest_drop(values) if values else None,
        "monotonicity": monotonicity(accuracy),
        **{name: _end(of_metric) for name, of_metric in found.items()},
    }


def largest_drop(values: Sequence[float]) -> float:
    """max over t of (max_{s <= t} v_s - v_t), v: moving average of `values` over a tenth of them. 0 for a curve that never falls."""
    window = max(1, round(len(values) / SMOOTHING))
    smooth = np.convolve(values, np.full(window, 1 / window), mode="valid")
    return float(np.max(np.maximum.accumulate(smooth) - smooth))


def monotonicity(accuracy: Series) -> float | None:
    """Spearman's rho, from -1 to 1: the correlation of the ranks. None for fewer than 3 steps, or a constant curve."""
    values = list(accuracy.values())
    if len(values) < 3 or min(values) == max(values):
        return None
    return float(np.corrcoef(_ranks(list(accuracy)), _ranks(values))[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray:
    """1 for the least; equal values share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def _end(values: Series) -> float | None:
    """Mean over the last fifth of the steps, at least one."""
    count = max(1, round(len(values) / LAST_SHARE))
    return float(np.mean(list(values.values())[-count:])) if values else None


def band(runs: Sequence[Series]) -> dict[str, Any]:
    """Mean curve of runs with its interval at each step that all of them have."""
    steps = sorted(set.intersection(*(set(run) for run in runs)))
    found = [student.mean([run[step] for run in runs]) for step in steps]
    return {
        "step": steps,
        "mean": [one.value for one in found],
        "low": [one.low for one in found],
        "high": [one.high for one in found],
        "n": len(runs),
    }
