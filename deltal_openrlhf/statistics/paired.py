"""Accuracy on held-out problems with its 95 % interval, and the paired difference of two models.

Some held-out problems are the same numbers in another order. They are no independent evidence, so the bootstrap draws whole groups of
them.
"""

from collections.abc import Hashable, Sequence

import numpy as np

from deltal_openrlhf.statistics.bootstrap import interval, resampled_means


def accuracy(correct: Sequence[Sequence[int]], groups: Sequence[Hashable]) -> dict:
    """Mean over problems: {"mean", "low", "high"}. correct: 0/1 of every sample of each problem. groups: one key a problem."""
    return _bootstrap(np.asarray(correct, dtype=float).mean(axis=1), groups)


def difference(before: Sequence[Sequence[int]], after: Sequence[Sequence[int]], groups: Sequence[Hashable]) -> dict:
    """Accuracy after minus before on the same problems, paired by problem: {"mean", "low", "high"}."""
    pairs = np.asarray(after, dtype=float).mean(axis=1) - np.asarray(before, dtype=float).mean(axis=1)
    return _bootstrap(pairs, groups)


def _bootstrap(values: np.ndarray, groups: Sequence[Hashable]) -> dict:
    """Mean of one value a problem, and its interval (always from the same resamples)."""
    low, high = interval(resampled_means(values[:, None], np.random.default_rng(0), groups)[:, 0])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}
