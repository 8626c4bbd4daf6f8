"""The jackknife and Fieller's interval against loops, formulas and known coverage."""

import numpy as np
import pytest

from deltal_openrlhf.statistics.estimate import Estimate
from deltal_openrlhf.statistics.fieller import Z, fieller
from deltal_openrlhf.statistics.jackknife import Replicates, leave_one_out


def test_leaving_out_one_value_gives_the_standard_error_of_a_mean():
    values = np.random.default_rng(0).normal(size=12)
    without = [np.delete(values, i).mean() for i in range(12)]
    found = leave_one_out(np.array([values.mean(), *without]))
    half = Z * values.std(ddof=1) / np.sqrt(12)
    assert (found.value, found.low, found.high) == pytest.approx(
        (values.mean(), values.mean() - half, values.mean() + half)
    )
    assert found.resolved == (abs(values.mean()) > half)
    assert leave_one_out(np.array([1.0, 2.0, 3.0])) == Estimate.undefined()
    assert leave_one_out(np.array([1.0, 1.0, np.nan, 1.0])) == Estimate.undefined()


def test_moments_of_a_single_partition_have_the_plain_jackknifes_covariance():
    """Two means over the same 30 units. Equal partitions have no noise to subtract: the sample covariance of the means is left."""
    units = np.random.default_rng(1).normal(size=(2, 30)) * [[1.0], [3.0]]
    without = np.array([[np.delete(row, i).mean() for i in range(30)] for row in units])
    moments = {
        name: (np.full(2, row.mean()), np.tile(out, (2, 1)))
        for name, row, out in zip("ab", units, without, strict=True)
    }
    replicates = Replicates.of(moments, {})
    wanted = np.cov(units) / 30
    np.testing.assert_allclose(replicates.covariance(np.eye(2)), wanted, rtol=1e-9)
    difference = replicates["a"] - replicates["b"]
    assert difference.error == pytest.approx(np.sqrt(wanted[0, 0] + wanted[1, 1] - 2 * wanted[0, 1]))
    product = replicates["a"] * replicates["b"]
    assert product.value == pytest.approx(units[0].mean() * units[1].mean() - wanted[0, 1])
    estimate = difference.estimate
    assert (estimate.low, estimate.high) == pytest.approx(
        (difference.value - difference.margin, difference.value + difference.margin)
    )


def test_fieller_covers_the_ratio_and_reaches_infinity():
    rng = np.random.default_rng(0)
    covariance = np.array([[1.0, 0.3], [0.3, 0.5]])
    for b, finite in ((10.0, 1.0), (1.5, 0.6)):
        draws = rng.multivariate_normal([2 * b, b], covariance, size=4000)
        ends = np.array([fieller(*draw, covariance)[1:] for draw in draws])
        assert np.mean((ends[:, 0] <= 2) & (ends[:, 1] >= 2)) == pytest.approx(0.95, abs=0.02)
        assert np.mean(np.isfinite(ends[:, 1])) == pytest.approx(finite, abs=0.1)
    value, low, high = fieller(4.0, 2.0, np.diag([0.01, 0.0]))
    np.testing.assert_allclose([value, low, high], [2, (4 - Z / 10) / 2, (4 + Z / 10) / 2])
    assert fieller(5.0, 0.1, np.eye(2)) == (
        50.0,
        pytest.approx((5**2 - Z**2) / (0.5 + np.sqrt(0.25 + (Z**2 - 0.01) * (25 - Z**2)))),
        np.inf,
    )
    assert np.isnan(fieller(1.0, -0.1, np.eye(2))[0])
