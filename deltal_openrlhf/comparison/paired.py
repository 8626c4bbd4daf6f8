"""Differences of two methods, paired by (start, seed). Both methods of a pair have seen the same prompts in the same order from the same
weights.

One seed means the same prompts in the same order and the same random numbers from every start. So the pairs of a seed are not independent,
and the interval is over the means of the seeds. It speaks for new seeds from these starts. With three starts or more there is a second
interval, over the means of the starts. It speaks for other starts, and it is wide if there are few.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from deltal_openrlhf.statistics import student
from deltal_openrlhf.statistics.p_values import holm, sign_flip_p

Key = tuple[str, int]
"""(start, seed)"""
Values = Mapping[Key, float | None]

METRICS = ("final", "auc", "largest_drop", "monotonicity")
LEAST_STARTS = 3


def compare(a: Values, b: Values) -> dict[str, Any]:
    """b minus a over their common pairs, as an entry of comparison.json without its names."""
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
    """The mean with its interval. It is resolved if the interval excludes 0."""
    return student.mean(values).against(0.0).as_json()


def all_pairs(names: Sequence[str], values: Callable[[str, str], Values]) -> list[dict[str, Any]]:
    """The entries of every pair of names, for every metric.

    values: of (name, metric). p_holm is adjusted for all pairs of a metric; comparisons is their number.
    """
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
