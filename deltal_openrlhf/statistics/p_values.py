"""p values of paired differences: flips of signs, and Holm's adjustment for several comparisons."""

from collections.abc import Sequence

import numpy as np

EXACT_UP_TO = 20
"""Values up to which all sign flips are counted."""
FLIPS = 100_000


def sign_flip_p(values: Sequence[float]) -> float | None:
    """Two-sided p of the mean under all 2^n flips of signs, exact up to EXACT_UP_TO values, else from seeded random flips.

    Without an effect a difference is as likely as its negative (Fisher's randomisation test). The least possible p is 2^(1-n).
    """
    if not values:
        return None
    observed = abs(np.sum(values))
    least = observed - 1e-12 * np.sum(np.abs(values))  # equal sums, added in another order
    if len(values) <= EXACT_UP_TO:
        sums = np.array([values[0]])  # the other half has the same absolute values
        for value in values[1:]:
            sums = np.concatenate([sums + value, sums - value])
        return float(np.mean(np.abs(sums) >= least))
    rng = np.random.default_rng(0)
    extreme = 0
    for _ in range(FLIPS // 1000):
        signs = rng.choice((-1.0, 1.0), size=(1000, len(values)))
        extreme += int(np.sum(np.abs(signs @ np.asarray(values)) >= least))
    return (extreme + 1) / (FLIPS + 1)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p values (1979), for all comparisons at once; None stays None and does not count."""
    order = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    adjusted: list[float | None] = [None] * len(ps)
    largest = 0.0
    for rank, (p, i) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        adjusted[i] = largest
    return adjusted
