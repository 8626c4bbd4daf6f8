"""scripts/make_results.py: verdicts follow from intervals alone."""

import importlib.util
import re
from pathlib import Path

import pytest
from support import report_examples as examples

from deltal_openrlhf.comparison.page import write_report

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_results", ROOT / "scripts" / "make_results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_verdicts(script):
    e = examples.est
    assert script.below(1)(e(0.8, 0.1)) == script.HOLDS and script.above(0)(e(0.8, 0.1)) == script.HOLDS
    assert script.below(1)(e(1.3, 0.1)) == script.FAILS and script.above(0)(e(-1, 0.1)) == script.FAILS
    assert script.below(1)(e(0.95, 0.1)) == script.OPEN and script.above(0)(e(0.05, 0.1)) == script.OPEN
    assert script.below(1)(e(0.8, low=0.5, high=None)) == script.OPEN
    equal = script.equal_to(1, 0.5)
    assert [equal(e(1.1, half)) for half in (0.05, 0.2, 0.3)] == [script.FAILS, script.HOLDS, script.OPEN]


def test_an_interval_without_an_end_and_an_unknown_power_are_said(script):
    assert script.text(examples.est(1.1, low=1.034, high=None)) == "1.100 [1.034, ∞]"
    found = examples.findings()
    for entry in found["estimators"]:
        if entry["key"] == "deltal-1-step":
            entry["detectable_bias"] = None
    row = script.Diagnosis({"one": found}).unbiased("1")
    assert "such samples would show: not known" in row.measured[0] and row.verdicts == [script.FAILS]


def test_an_exponent_of_1_with_bins_off_the_fit_is_no_proportion(script):
    found = examples.findings()
    fit = found["variance"]["with_advantage"]["all"]
    fit["beta"] = examples.est(1.05, 0.1)
    row = script.Diagnosis({"one": found}).growth("claim", "with_advantage")
    assert row.verdicts == [script.HOLDS] and row.measured == [
        "1.050 [0.950, 1.150], 0 of 8 bins of lengths off the fit"
    ]
    fit["bins_off"] = 3
    assert script.Diagnosis({"one": found}).growth("claim", "with_advantage").verdicts == [script.FAILS]


def test_the_order_of_the_cv_is_tested_pair_by_pair(script):
    rows = script.Diagnosis({"one": examples.findings()}).ordering()
    assert [row.claim for row in rows] == [
        "∆L 1 has a lower CV than ∆L 0.75: ratio < 1",
        "DAPO norm has the CV of Dr. GRPO norm: ratio 1",
    ]
    assert [row.verdicts for row in rows] == [[script.HOLDS], [script.HOLDS]]


@pytest.mark.parametrize(
    ("seeds", "starts", "verdict"),
    [
        ((0.05, 0.01), (0.05, 0.02), "holds"),
        ((0.05, 0.01), (0.05, 0.2), "holds with these starting points; for others not resolved"),
        ((0.05, 0.06), (0.05, 0.2), "not resolved"),
        ((-0.05, 0.01), (-0.05, 0.02), "does not hold"),
    ],
)
def test_a_difference_speaks_for_other_starting_points_only_if_they_agree(script, seeds, starts, verdict):
    entry = {"metric": "final", "a": "GRPO norm", "b": "∆L 1", "n": 15, "wins": 9}
    entry |= {"difference": examples.est(*seeds), "difference_over_starts": examples.est(*starts)}
    (row,) = script.training_rows({"families": [], "pairs": [entry]})
    assert row.claim == "∆L 1 ends higher than GRPO norm" and row.verdicts == [verdict]
    # The same difference the other way round.
    turned = entry | {"a": "∆L 1", "b": "GRPO norm"}
    for key in ("difference", "difference_over_starts"):
        turned[key] = examples.est(-entry[key]["value"], low=-entry[key]["high"], high=-entry[key]["low"])
    assert script.training_rows({"families": [], "pairs": [turned]})[0].verdicts == [verdict]


def test_an_arm_says_what_it_took_and_shows_its_own_plots(script, tmp_path):
    comparison = examples.comparison() | {"command": "deltal compare x.yaml"}
    first, second = comparison["arms"]
    second["cpu_seconds_of_rates"] = 0
    second["methods"][0]["crashed"] = [{"run": "x", "reason": "y"}]
    write_report(comparison, tmp_path)
    (tmp_path / "plots/1_another-arm_accuracy.png").touch()  # of an earlier report
    plots = script.arm_plots(comparison, tmp_path)
    assert all(path.exists() for of_arm in plots for path in of_arm)
    said = script.training(comparison, plots)
    of_first, of_second = said.split("### four steps")
    # 2980.1 s in all, 610.2 s of them for the rates of the first; 5 methods with 15 runs each
    assert "75 runs in 39 core-minutes, the choice of learning rates before them in 10." in of_first
    assert "76 runs in 50 core-minutes." in of_second
    shown = [re.findall(r"plots/(.*?)\.png", text) for text in (of_first, of_second)]
    assert shown == [
        ["1_one-step_accuracy", "1_one-step_difference_final"],
        ["2_four-steps_accuracy", "2_four-steps_difference_final"],
    ]
