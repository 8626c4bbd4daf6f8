"""The bootstrap against every possible draw, the normal approximation and known coverage."""

import math
from collections import Counter

import numpy as np
import pytest
from support.exact_means import exact_means

from deltal_openrlhf.statistics import bootstrap
from deltal_openrlhf.statistics.bootstrap import interval, resampled_means


@pytest.mark.parametrize("groups", [None, ["a", "a", "b", "c"]])
def test_resampled_means_have_the_exact_distribution(groups):
    values, resamples = [0.0, 0.25, 1.0, 0.5], 40_000
    means = resampled_means(np.array(values)[:, None], np.random.default_rng(1), groups, resamples)[:, 0]
    exact = exact_means(values, groups)
    found = Counter(round(float(mean), 9) for mean in means)
    assert set(found) == {round(mean, 9) for mean in exact}
    for mean, chance in exact.items():
        error = math.sqrt(chance * (1 - chance) / resamples)
        assert abs(found[round(mean, 9)] / resamples - chance) < 4.5 * error, mean
    other = exact_means(values) if groups else exact_means(values, ["a", "a", "b", "c"])
    assert set(other) != set(exact)  # the two would be told apart


def test_columns_of_one_resample_are_means_over_the_same_problems():
    values = np.random.default_rng(2).random((30, 1))
    means = resampled_means(np.hstack([values, 1 - values]), np.random.default_rng(3), resamples=500)
    np.testing.assert_allclose(means.sum(axis=1), 1)
    assert means[:, 0].std() > 0.01


def test_parts_of_the_work_do_not_change_the_resamples(monkeypatch):
    values = np.random.default_rng(4).random((50, 2))
    whole = resampled_means(values, np.random.default_rng(0), resamples=333)
    monkeypatch.setattr("deltal_openrlhf.statistics.bootstrap._NUMBERS_AT_ONCE", 350)
    np.testing.assert_array_equal(resampled_means(values, np.random.default_rng(0), resamples=333), whole)


def test_interval_covers_the_truth():
    """Share of 600 experiments (80 problems of different difficulty, 4 responses) whose interval holds the true mean: 0.95, with a standard
    error of 0.009; the percentile bootstrap is known to be a little short."""
    rng, truth, covered = np.random.default_rng(7), 0.3, 0
    for _ in range(600):
        chances = rng.beta(0.6, 1.4, size=80)  # mean 0.3
        shares = rng.binomial(4, chances)[:, None] / 4
        low, high = interval(resampled_means(shares, rng, resamples=1000))
        covered += low[0] <= truth <= high[0]
    assert 0.91 < covered / 600 < 0.98


def test_the_paired_difference_is_narrow_and_resolved_if_it_excludes_0():
    rng = np.random.default_rng(0)
    before = (rng.random((256, 4)) < 0.3).mean(axis=1)
    after = np.maximum(before, (rng.random((256, 4)) < 0.2).mean(axis=1))
    single, change = bootstrap.mean(before), bootstrap.difference(before, after)
    # The normal approximation: 1.96 standard errors of 256 problem means.
    assert (single.high - single.low) / 2 == pytest.approx(1.96 * before.std() / 16, rel=0.1)
    assert change.value == pytest.approx(bootstrap.mean(after).value - single.value)
    assert change.resolved and change.low > 0 and change.high - change.low < single.high - single.low
    turned = bootstrap.difference(after, before)
    assert turned.resolved and (turned.value, turned.high) == (-change.value, pytest.approx(-change.low, abs=2e-3))
    same = bootstrap.difference(before, before)
    assert (same.value, same.low, same.high, same.resolved) == (0.0, 0.0, 0.0, False)


def test_problems_of_a_group_count_as_one():
    """64 problems, each four times with the same result, are as much evidence as 64."""
    once = (np.random.default_rng(1).random(64) < 0.5).astype(float)
    fourfold, single = bootstrap.mean(np.tile(once, 4), list(range(64)) * 4), bootstrap.mean(once)
    assert fourfold.high - fourfold.low == pytest.approx(single.high - single.low, rel=0.01)
    naive = bootstrap.mean(np.tile(once, 4))
    assert naive.high - naive.low < 0.6 * (single.high - single.low)
