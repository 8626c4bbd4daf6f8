"""The bootstrap's slow reference: every possible draw."""

import itertools
from collections import Counter
from fractions import Fraction


def exact_means(values, groups=None):
    """Distribution of the mean over every possible draw: value -> chance."""
    keys = sorted(set(groups or range(len(values))))
    members = {key: [v for v, g in zip(values, groups or range(len(values)), strict=True) if g == key] for key in keys}
    found = Counter()
    for draw in itertools.product(keys, repeat=len(keys)):
        drawn = [v for key in draw for v in members[key]]
        found[sum(drawn) / len(drawn)] += Fraction(1, len(keys) ** len(keys))
    return found
