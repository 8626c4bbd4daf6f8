"""Estimate: what JSON holds, and where an interval lies."""

import json
import math

import numpy as np
import pytest

from deltal_openrlhf.statistics.estimate import Estimate


def test_json_holds_numbers_and_null_and_reads_back():
    found = Estimate.of(np.float32(0.5), -math.inf, math.nan, resolved=np.bool_(True))
    assert found == Estimate(0.5, None, None, resolved=True)
    assert found.as_json() == {"value": 0.5, "low": None, "high": None, "resolved": True}
    assert Estimate(**json.loads(json.dumps(found.as_json()))) == found
    assert Estimate.undefined().as_json() == {"value": None, "low": None, "high": None, "resolved": False}


@pytest.mark.parametrize(
    ("low", "high", "side"),
    [(0.1, 0.2, 1), (-0.2, -0.1, -1), (-0.1, 0.1, None), (0.0, 0.1, None), (None, -0.1, -1), (0.1, None, 1)],
)
def test_the_side_of_zero_and_what_it_resolves(low, high, side):
    found = Estimate(0.0, low, high, resolved=True)
    assert found.side(0.0) == side
    assert found.against(0.0).resolved is (side is not None)
    assert not Estimate(0.0, low, high, resolved=False).against(0.0).resolved


def test_an_interval_without_ends_has_no_side():
    assert Estimate(1.0, None, None, resolved=True).side(0.0) is None
