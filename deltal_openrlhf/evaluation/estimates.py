"""Avg@n and Pass@k from the number of correct responses to each problem, with bootstrap intervals.

A problem with c correct of n responses counts c/n in Avg@n, and 1 - C(n-c, k) / C(n, k) in Pass@k. The latter is the share of its subsets
of k responses that hold a correct one (Chen et al. 2021, arXiv 2107.03374). Its expectation is the chance that k new responses hold a
correct one.

A set's value is the mean over its problems. There are two values over all sets: the mean over all problems, where large sets weigh more,
and the mean over sets, where all weigh the same. Intervals are percentile bootstrap over problems, each set on its own. If all problems of
a set came out alike, its interval has width zero. The bootstrap sees no variance there, which does not mean that there is none.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from deltal_openrlhf.statistics.bootstrap import interval, resampled_means
from deltal_openrlhf.statistics.estimate import Estimate

OVER_PROBLEMS = "all: mean over problems"
OVER_SETS = "all: mean over sets"


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that k of n responses, drawn without replacement, hold one of the c correct ones. 0 <= c <= n, 1 <= k <= n."""
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"Pass@k needs 0 <= c <= n and 1 <= k <= n, got n {n}, c {c}, k {k}")
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def powers_of_two(n: int) -> list[int]:
    """1, 2, 4, ... up to n."""
    return [1 << exponent for exponent in range(n.bit_length())]


def statistics(n: int, correct: Sequence[int], ks: Sequence[int]) -> np.ndarray:
    """[problems, 1 + len(ks)]: share of correct responses, and Pass@k for each k, of each problem."""
    by_count = np.array([[c / n, *(pass_at_k(n, c, k) for k in ks)] for c in range(n + 1)])
    return by_count[np.asarray(correct)]


def estimates(values: Mapping[str, np.ndarray]) -> dict[str, list[Estimate]]:
    """Mean and interval of each column, for each set and over all of them (OVER_PROBLEMS, OVER_SETS).

    values: set -> [problems, columns]. Returns name -> one estimate a column. All calls use the same resamples.
    """
    rng = np.random.default_rng(0)
    # In the order of their names, so that a set's resamples do not depend on which file was named first.
    names = sorted(values)
    means = [values[name].mean(axis=0) for name in names]
    resampled = [resampled_means(values[name], rng) for name in names]
    found = {name: _column_estimates(*parts) for name, *parts in zip(names, means, resampled, strict=True)}
    sizes = [len(values[name]) for name in names]
    for name, weights in ((OVER_PROBLEMS, sizes), (OVER_SETS, [1] * len(names))):
        found[name] = _column_estimates(
            np.average(means, axis=0, weights=weights), np.average(resampled, axis=0, weights=weights)
        )
    return found


def _column_estimates(means: np.ndarray, resampled: np.ndarray) -> list[Estimate]:
    """means: [columns]. resampled: [resamples, columns]."""
    return [Estimate.of(*ends, resolved=True) for ends in zip(means, *interval(resampled), strict=True)]
