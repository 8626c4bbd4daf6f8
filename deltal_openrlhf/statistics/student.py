"""Intervals from Student's t distribution."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr, stdtrit  # scipy.stats, which has the same functions, takes 2 s to import

from deltal_openrlhf.statistics.estimate import Estimate


def quantile(freedom: float) -> float:
    """97.5 % of Student's t with that many degrees of freedom."""
    return float(stdtrit(freedom, 0.975))


def mean(values: Sequence[float | None]) -> Estimate:
    """Mean of the values that are there (None is left out), plus or minus t_{0.975, n-1} s / sqrt(n).

    resolved: there is an interval, which takes at least two values.
    """
    there = np.array([value for value in values if value is not None])
    if not len(there):
        return Estimate.undefined()
    center, n = float(there.mean()), len(there)
    if n < 2:
        return Estimate.of(center, -math.inf, math.inf, resolved=False)
    half = float(quantile(n - 1) * there.std(ddof=1) / math.sqrt(n))
    return Estimate.of(center, center - half, center + half, resolved=True)


def expanded_tail(n: int) -> float:
    """Percent that each tail of a percentile bootstrap of n units leaves out, in place of 2.5.

    Resampling n units spreads too little: by sqrt((n - 1) / n), and as the normal distribution does against Student's t (Hesterberg
    2015, "expanded percentile").
    """
    return float(100 * ndtr(stdtrit(n - 1, 0.025) * math.sqrt(n / (n - 1))))
