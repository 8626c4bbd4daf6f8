"""Student's t and the expanded percentile against scipy.stats."""

import math

import numpy as np
import pytest
from scipy import stats

from deltal_openrlhf.statistics import bootstrap, student
from deltal_openrlhf.statistics.estimate import Estimate


@pytest.mark.parametrize("n", [2, 3, 15])
def test_the_interval_is_students(n):
    values = np.random.default_rng(n).normal(size=n)
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    found = student.mean([*values.tolist(), None])
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high))
    assert found.resolved


def test_one_value_has_no_interval_and_none_no_value():
    assert student.mean([0.5, None]) == Estimate(0.5, None, None, resolved=False)
    assert student.mean([None]) == Estimate.undefined()


@pytest.mark.parametrize("freedom", [1, 2.0, 7.3, 1000])
def test_the_quantile_is_scipys(freedom):
    assert student.quantile(freedom) == stats.t.ppf(0.975, freedom)


def test_the_expanded_percentile_reaches_as_far_as_students_interval():
    """Of normal resampled means with the variance s^2 (n - 1) / n^2, which the bootstrap of n units has."""
    for n in (3, 10, 40):
        end = stats.norm.ppf(student.expanded_tail(n) / 100, scale=math.sqrt((n - 1) / n) / math.sqrt(n))
        assert end == pytest.approx(stats.t.ppf(0.025, n - 1) / math.sqrt(n))
    values = np.random.default_rng(0).normal(size=12)
    means = bootstrap.resampled_means(values[:, None], np.random.default_rng(0))[:, 0]
    low, high = bootstrap.interval(means, student.expanded_tail(12))
    wanted = student.mean(values.tolist())
    assert (low, high) == (pytest.approx(wanted.low, abs=0.1), pytest.approx(wanted.high, abs=0.1))
    assert high - low > 1.1 * np.subtract(*bootstrap.interval(means)[::-1])
