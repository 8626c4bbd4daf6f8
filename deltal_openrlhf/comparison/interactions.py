"""Interactions: whether the difference of two methods is another one in an arm than in the reference arm.

A pair (start, seed) has the difference of the two methods in the arm and that in the reference arm. The interaction is the first minus the
second. Its intervals are those of paired.py, over the means of seeds and of starts.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from deltal_openrlhf.comparison import paired
from deltal_openrlhf.comparison.spec import Arm

METRICS = ("final", "auc")
"""The metrics in which a higher value is a better method."""

ValuesOf = Callable[[Arm, str, str], paired.Values]
"""The values of an arm's method: (arm, method, metric)."""


def interactions(arms: Sequence[Arm], reference: Arm | None, values: ValuesOf) -> list[dict[str, Any]]:
    """The entries of every other arm and every pair of methods that both arms have, for every metric. None without a reference arm.

    in_reference, in_arm: the difference b - a in each arm, over the pairs (start, seed) that all four have. difference: the latter minus
    the former. p_holm is adjusted for all entries of a metric; comparisons is their number. An entry without such pairs has n = 0.
    """
    entries: list[dict[str, Any]] = []
    if reference is None:
        return entries
    for metric in METRICS:
        found = [
            _interaction(arm, reference, a, b, metric, values)
            for arm in arms
            if arm.name != reference.name
            for a, b in itertools.combinations([name for name in reference.methods if name in arm.methods], 2)
        ]
        entries += paired.adjusted(found)
    return entries


def _interaction(arm: Arm, reference: Arm, a: str, b: str, metric: str, values: ValuesOf) -> dict[str, Any]:
    of_reference, of_arm = (
        paired.differences(values(one, a, metric), values(one, b, metric)) for one in (reference, arm)
    )
    shared = [key for key in of_reference if key in of_arm]
    return {
        "arm": arm.name,
        "a": a,
        "b": b,
        "metric": metric,
        "in_reference": paired.over_seeds({key: of_reference[key] for key in shared}),
        "in_arm": paired.over_seeds({key: of_arm[key] for key in shared}),
        **paired.compare(of_reference, of_arm),
    }
