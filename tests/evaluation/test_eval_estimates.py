"""Avg@n, Pass@k and their intervals against slow references: every subset, every resample, known coverage."""

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from support.exact_means import exact_means

from deltal_openrlhf.evaluation.estimates import (
    OVER_PROBLEMS,
    OVER_SETS,
    estimates,
    pass_at_k,
    powers_of_two,
    statistics,
)


@pytest.mark.parametrize("n", range(1, 9))
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_response(n):
    for c in range(n + 1):
        responses = [1] * c + [0] * (n - c)
        for k in range(1, n + 1):
            subsets = list(itertools.combinations(responses, k))
            assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-15)


def test_pass_at_k_is_unbiased():
    """Its expectation over c ~ Binomial(n, p) is 1 - (1 - p)^k exactly; that of the plug-in 1 - (1 - c/n)^k is not."""
    n, p = 6, Fraction(1, 5)
    chances = [math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    for k in range(1, n + 1):
        expected = sum(float(chance) * pass_at_k(n, c, k) for c, chance in enumerate(chances))
        assert expected == pytest.approx(float(1 - (1 - p) ** k), abs=1e-12)
    plug_in = sum(float(chance) * (1 - (1 - c / n) ** 3) for c, chance in enumerate(chances))
    assert abs(plug_in - float(1 - (1 - p) ** 3)) > 0.02


@pytest.mark.parametrize(("n", "c", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 0), (4, 2, 5)])
def test_pass_at_k_refuses(n, c, k):
    with pytest.raises(ValueError, match="Pass@k needs"):
        pass_at_k(n, c, k)


def test_powers_of_two():
    assert [powers_of_two(n) for n in (1, 2, 3, 8, 12)] == [[1], [1, 2], [1, 2], [1, 2, 4, 8], [1, 2, 4, 8]]


def test_statistics_by_hand():
    """n 4; c 0, 1, 4: Avg 0, 1/4, 1; Pass@2 0, 1 - 3/6, 1; Pass@4 0, 1, 1."""
    expected = [[0, 0, 0, 0], [0.25, 0.25, 0.5, 1], [1, 1, 1, 1]]
    np.testing.assert_allclose(statistics(4, [0, 1, 4], [1, 2, 4]), expected, atol=1e-15)


def around_quantile(distribution, level):
    """The exact quantiles four standard errors of 10,000 resamples below and above a level."""
    error = 4 * math.sqrt(level * (1 - level) / 10_000)
    total, ends = Fraction(0), []
    for value in sorted(distribution):
        total += distribution[value]
        while len(ends) < 2 and total >= level + (-error, error)[len(ends)]:
            ends.append(value)
    return ends


@pytest.mark.parametrize("overall", [OVER_PROBLEMS, OVER_SETS])
def test_overall_interval_is_that_of_sets_resampled_on_their_own(overall):
    sets = {"easy": [1.0, 0.9, 0.8, 1.0], "hard": [0.1, 0.0]}
    weights = {OVER_PROBLEMS: (4 / 6, 2 / 6), OVER_SETS: (1 / 2, 1 / 2)}[overall]
    exact = Counter()
    for (a, chance_a), (b, chance_b) in itertools.product(*(exact_means(sets[name]).items() for name in sets)):
        exact[weights[0] * a + weights[1] * b] += chance_a * chance_b
    found = estimates({name: np.array(values)[:, None] for name, values in sets.items()})[overall][0]
    assert found.value == pytest.approx(weights[0] * 0.925 + weights[1] * 0.05)
    for end, level in (("low", 0.025), ("high", 0.975)):
        least, most = around_quantile(exact, level)
        assert least - 1e-9 <= getattr(found, end) <= most + 1e-9
        assert most - least < 0.04
    pooled_low, _ = around_quantile(exact_means(sum(sets.values(), [])), 0.025)
    assert pooled_low < found.low - 0.1  # problems drawn across sets would vary far more


def test_sets_of_the_same_size_are_drawn_independently():
    """With the same draws for both, a set and its complement would always give one half."""
    values = np.random.default_rng(5).random((40, 1))
    found = estimates({"a": values, "b": 1 - values})[OVER_SETS][0]
    assert found.value == pytest.approx(0.5)
    assert found.high - found.low > 0.05


def test_order_of_sets_changes_nothing():
    a, b = np.random.default_rng(6).random((2, 20, 1))
    assert estimates({"a": a, "b": b}) == estimates({"b": b, "a": a})
