"""Percentile bootstrap of means over problems. Needs numpy only."""

from collections.abc import Hashable, Sequence

import numpy as np

from deltal_openrlhf.statistics.estimate import Estimate

RESAMPLES = 10_000
LEVEL = 95
"""Percent of the resampled means that an interval holds."""

_NUMBERS_AT_ONCE = 4_000_000  # bounds the memory, 8 bytes each


def mean(values: np.ndarray, groups: Sequence[Hashable] | None = None) -> Estimate:
    """Mean of one value a problem, [problems], and its interval; always from the same resamples. groups: see resampled_means."""
    low, high = interval(resampled_means(values[:, None], np.random.default_rng(0), groups)[:, 0])
    return Estimate.of(values.mean(), float(low), float(high), resolved=True)


def difference(before: np.ndarray, after: np.ndarray, groups: Sequence[Hashable] | None = None) -> Estimate:
    """Mean of after - before on the same problems, paired by problem. resolved: the interval excludes 0."""
    return mean(after - before, groups).against(0.0)


def resampled_means(
    values: np.ndarray, rng: np.random.Generator, groups: Sequence[Hashable] | None = None, resamples: int = RESAMPLES
) -> np.ndarray:
    """Means of `values` [problems, statistics] over problems drawn with replacement: [resamples, statistics].

    groups: one key a problem; problems with the same key are drawn together (no key means that each is a group of its own). Statistics
    of one resample are means over the same draw, so differences of columns are paired.
    """
    keys: dict[Hashable, int] = {}
    members = np.array([keys.setdefault(key, len(keys)) for key in (groups or range(len(values)))])
    counts = np.bincount(members)
    sums = np.stack([np.bincount(members, weights=column) for column in values.T], axis=1)  # [groups, statistics]
    means = np.empty((resamples, values.shape[1]))
    rows = max(1, _NUMBERS_AT_ONCE // len(counts))
    for start in range(0, resamples, rows):
        picks = rng.integers(len(counts), size=(min(rows, resamples - start), len(counts)))
        totals = np.stack([column[picks].sum(axis=1) for column in sums.T], axis=1)
        means[start : start + rows] = totals / counts[picks].sum(axis=1)[:, None]
    return means


def interval(means: np.ndarray, tail: float = (100 - LEVEL) / 2) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end of the interval of `means` [resamples, ...]: two arrays [...]. tail: percent left out on either side."""
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return low, high
