"""Accuracy on held-out problems with its 95 % interval, and the paired difference of two models.

Some held-out problems are the same numbers in another order. They are no independent evidence, so the bootstrap draws whole groups of
them.
"""

from collections.abc import Hashable, Sequence

import numpy as np


def accuracy(correct: Sequence[Sequence[int]], groups: Sequence[Hashable]) -> dict:
    """Mean over problems: {"mean", "low", "high"}. correct: 0/1 of every sample of each problem. groups: one key a problem."""
    return _bootstrap(np.asarray(correct, dtype=float).mean(axis=1), groups)


def difference(before: Sequence[Sequence[int]], after: Sequence[Sequence[int]], groups: Sequence[Hashable]) -> dict:
    """Accuracy after minus before on the same problems, paired by problem: {"mean", "low", "high"}."""
    pairs = np.asarray(after, dtype=float).mean(axis=1) - np.asarray(before, dtype=float).mean(axis=1)
    return _bootstrap(pairs, groups)


def _bootstrap(values: np.ndarray, groups: Sequence[Hashable], resamples: int = 10_000) -> dict:
    """Mean of one value a problem, and the percentile interval over resampled groups (always the same resamples)."""
    keys = {key: number for number, key in enumerate(dict.fromkeys(groups))}
    members = np.array([keys[key] for key in groups])
    sums, counts = np.bincount(members, weights=values), np.bincount(members)
    picks = np.random.default_rng(0).integers(len(keys), size=(resamples, len(keys)))
    means = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}
