"""p values of paired differences against every flip of signs, and Holm's adjustment by hand."""

import itertools
import math

import numpy as np
import pytest

from deltal_openrlhf.statistics import p_values


@pytest.mark.parametrize("n", [1, 2, 6, 11])
def test_the_exact_p_counts_all_flips_of_signs(n):
    rng = np.random.default_rng(n)
    differences = np.round(rng.normal(0.3, 1, size=n), 1).tolist()  # rounded, so that sums are equal
    extreme = sum(
        abs(math.fsum(s * d for s, d in zip(signs, differences, strict=True))) >= abs(math.fsum(differences)) - 1e-9
        for signs in itertools.product((1, -1), repeat=n)
    )
    assert p_values.sign_flip_p(differences) == pytest.approx(extreme / 2**n)


def test_the_sampled_p_is_near_the_exact_one_and_seeded(monkeypatch):
    differences = np.random.default_rng(5).normal(0.4, 1, size=18).tolist()
    exact = p_values.sign_flip_p(differences)
    monkeypatch.setattr(p_values, "EXACT_UP_TO", 5)
    sampled = p_values.sign_flip_p(differences)
    assert sampled == p_values.sign_flip_p(differences)
    assert abs(sampled - exact) < 4 * math.sqrt(exact * (1 - exact) / p_values.FLIPS)
    assert p_values.sign_flip_p([1.0] * 40) == 1 / (p_values.FLIPS + 1)
    assert p_values.sign_flip_p([]) is None


def test_holm_by_hand():
    # Sorted .01, .02, .03, .5: times 4, 3, 2, 1, and never smaller than the one before.
    assert p_values.holm([0.03, None, 0.01, 0.5, 0.02]) == pytest.approx([0.06, None, 0.04, 0.5, 0.06])
    assert p_values.holm([0.6, 0.7]) == [1.0, 1.0]
