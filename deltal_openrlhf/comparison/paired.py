"""Differences of two methods, paired by (start, seed): both have seen the same prompts in the same order from the same weights.

One seed means the same prompts in the same order and the same random numbers from every start, so the pairs of a seed are not
independent: the interval is that over the means of the seeds, and speaks for new seeds from these starts. With three starts or more there
is a second one, over the means of the starts: it is the one that speaks for other starts, and it is wide where there are few.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from deltal_openrlhf.comparison.curves import estimate

Key = tuple[str, int]
"""(start, seed)"""
Values = Mapping[Key, float | None]

METRICS = ("final", "auc", "largest_drop", "monotonicity")
EXACT_UP_TO = 20
"""Seeds up to which all sign flips are counted."""
FLIPS = 100_000
LEAST_STARTS = 3


def compare(a: Values, b: Values) -> dict[str, Any]:
    """b minus a over the pairs that both have: the entry of comparison.json without its names."""
    differences = {}
    for key, before in a.items():
        after = b.get(key)
        if before is not None and after is not None:
            differences[key] = after - before
    over_seeds, over_starts = _means(differences, 1), _means(differences, 0)
    entry = {
        "difference": _difference(over_seeds),
        "n": len(differences),
        "seeds": len(over_seeds),
        "wins": sum(value > 0 for value in differences.values()),
        "p": sign_flip_p(over_seeds),
    }
    if len(over_starts) >= LEAST_STARTS:
        entry["difference_over_starts"] = _difference(over_starts)
    return entry


def _means(differences: Mapping[Key, float], part: int) -> list[float]:
    """The mean of the pairs of each start (part 0) or of each seed (part 1)."""
    groups: dict[Any, list[float]] = {}
    for key, value in differences.items():
        groups.setdefault(key[part], []).append(value)
    return [float(np.mean(values)) for values in groups.values()]


def _difference(values: Sequence[float]) -> dict[str, Any]:
    """Mean with its interval; resolved: the interval excludes 0."""
    found = estimate(values)
    return found | {"resolved": found["resolved"] and not found["low"] <= 0 <= found["high"]}


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


def all_pairs(names: Sequence[str], values: Callable[[str, str], Values]) -> list[dict[str, Any]]:
    """Every pair of names and every metric. values(name, metric). p_holm: over all pairs of a metric; comparisons: their number."""
    entries = []
    for metric in METRICS:
        found = [
            {"a": a, "b": b, "metric": metric, **compare(values(a, metric), values(b, metric))}
            for a, b in itertools.combinations(names, 2)
        ]
        for entry, p in zip(found, holm([entry["p"] for entry in found]), strict=True):
            entries.append({**entry, "p_holm": p, "comparisons": len(found)})
    return entries


def mean_over(members: Sequence[Values]) -> dict[Key, float | None]:
    """A family's value: the mean of its methods, for the (start, seed) that all of them have."""
    keys = [key for key in members[0] if all(member.get(key) is not None for member in members)]
    return {key: float(np.mean([member[key] for member in members])) for key in keys}
