"""Differences of two methods, paired by (start, seed). Both methods of a pair have seen the same prompts in the same order from the same
weights.

One seed means the same prompts in the same order and the same random numbers from every start. So the pairs of a seed are not independent,
and the interval is over the means of the seeds. It speaks for new seeds from these starts. With three starts or more there is a second
interval, over the means of the starts. It speaks for other starts, and it is wide if there are few.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from deltal_openrlhf.statistics import student
from deltal_openrlhf.statistics.p_values import holm, sign_flip_p

Key = tuple[str, int]
"""(start, seed)"""
Values = Mapping[Key, float | None]

METRICS = ("final", "auc", "largest_drop", "monotonicity")
LEAST_STARTS = 3


def differences(a: Values, b: Values) -> dict[Key, float]:
    """b minus a for the pairs that both have."""
    found = {}
    for key, before in a.items():
        after = b.get(key)
        if before is not None and after is not None:
            found[key] = after - before
    return found


def compare(a: Values, b: Values) -> dict[str, Any]:
    """b minus a over their common pairs, as an entry of comparison.json without its names."""
    found = differences(a, b)
    of_seeds, of_starts = _means(found, 1), _means(found, 0)
    entry = {
        "difference": _difference(of_seeds),
        "n": len(found),
        "seeds": len(of_seeds),
        "wins": sum(value > 0 for value in found.values()),
        "p": sign_flip_p(of_seeds),
    }
    if len(of_starts) >= LEAST_STARTS:
        entry["difference_over_starts"] = _difference(of_starts)
    return entry


def over_seeds(found: Mapping[Key, float]) -> dict[str, Any]:
    """The mean over seeds of their means over starts, with its interval, as in comparison.json."""
    return _difference(_means(found, 1))


def _means(found: Mapping[Key, float], part: int) -> list[float]:
    """The mean of the pairs of each start (part 0) or of each seed (part 1)."""
    groups: dict[Any, list[float]] = {}
    for key, value in found.items():
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
        entries += adjusted(
            {"a": a, "b": b, "metric": metric, **compare(values(a, metric), values(b, metric))}
            for a, b in itertools.combinations(names, 2)
        )
    return entries


def adjusted(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries with p_holm, which is p adjusted for all of them, and comparisons, their number."""
    found = list(entries)
    ps = holm([entry["p"] for entry in found])
    return [{**entry, "p_holm": p, "comparisons": len(found)} for entry, p in zip(found, ps, strict=True)]


def mean_over(members: Sequence[Values]) -> dict[Key, float | None]:
    """A family's value: the mean of its methods, for the (start, seed) that all of them have."""
    keys = [key for key in members[0] if all(member.get(key) is not None for member in members)]
    return {key: float(np.mean([member[key] for member in members])) for key in keys}
