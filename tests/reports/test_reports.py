"""Pieces of the reports: numbers as text, the look of methods, the limits of axes."""

from itertools import pairwise

import pytest
from support import report_examples as examples

from deltal_openrlhf.reports import palette
from deltal_openrlhf.reports.end_names import spread
from deltal_openrlhf.reports.figures import limits
from deltal_openrlhf.reports.numbers import count, estimate_text, number, rate, seconds


def test_numbers_have_the_digits_that_their_interval_carries():
    e = examples.est
    assert estimate_text(e(1.23456, 0.14)) == "1.23 [1.09, 1.37]"
    assert estimate_text(e(0.0448, 0.011), "+") == "+0.045 [+0.034, +0.056]"
    assert estimate_text(e(1234.5, 40.0)) == "1,234 [1,194, 1,274]"
    assert estimate_text(e(2.5e-5, 1.2e-6)) == "2.50e-05 [2.38e-05, 2.62e-05]"
    assert estimate_text(e(3.5, low=2.1, high=None)) == "3.50 [2.10, ∞)"
    assert estimate_text(e(None, low=3.2, high=None)) == "– [3.20, ∞)"
    assert estimate_text(e(0.4231)) == "0.423 (no interval)"
    assert estimate_text(examples.NOTHING) == "–"
    shown = {None: "–", 12345: "12,345", 128.0: "128", 0.125: "0.125", 0.01234: "0.0123", 1.2e-7: "1.20e-07", 0: "0"}
    assert {value: number(value) for value in shown} == shown
    assert [rate(v) for v in (0.01, 5e-4, 2.5e-5, 8.0)] == ["0.01", "5e-4", "2.5e-5", "8"]
    assert (seconds(45), seconds(720), seconds(12_240), seconds(None)) == ("45 s", "12 min", "3.4 h", "–")
    assert (count(1, "run"), count(2000, "run")) == ("1 run", "2,000 runs")


def test_a_method_has_one_look_whatever_else_is_in_the_report():
    known = palette.looks(["∆L 1", "GRPO norm"])
    more = palette.looks(["mine", "GRPO norm", "yours", "∆L 1"])
    assert known["∆L 1"] == more["∆L 1"] and known["GRPO norm"] == more["GRPO norm"]
    many = palette.looks([*palette.FIXED, *(f"method {i}" for i in range(12))])
    assert len(set(many.values())) == len(many) == 19


def test_an_endless_interval_does_not_squeeze_the_values():
    low, high = limits([1.0, 2.0], [0.5, 1e6, None], log=False)
    assert 0 < low < 0.5 and 2 < high < 20
    low, high = limits([1.0, 10.0], [-3.0, 1e-40], log=True)
    assert 1e-10 < low < 1 and 10 < high < 100
    low, high = limits([], [], log=False)
    assert low < high


def test_names_of_curves_keep_apart_and_stay_where_they_were_if_they_can():
    assert spread([0.1, 0.5, 0.9], 0.1) == pytest.approx([0.1, 0.5, 0.9])
    crowded = spread([0.2, 0.2, 0.21, 0.98, 1.0], 0.1)
    assert all(upper - lower >= 0.1 - 1e-9 for lower, upper in pairwise(crowded))
    assert crowded[-1] == pytest.approx(1.0)
    assert spread([1.0, 1.0], 0.25) == pytest.approx([0.75, 1.0]) and spread([], 0.1) == []
    assert spread([0.5, 0.5, 0.5], 0.1) == pytest.approx([0.4, 0.5, 0.6])  # in both directions
