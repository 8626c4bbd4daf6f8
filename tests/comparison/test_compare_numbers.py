"""Measures of a run and paired differences: against scipy, brute force and planted curves."""

import itertools

import numpy as np
import pytest
from scipy import stats

from deltal_openrlhf.comparison import curves, paired
from deltal_openrlhf.statistics import student
from deltal_openrlhf.statistics.p_values import sign_flip_p


def rows(values, name=curves.ACCURACY):
    return [{"step": step, name: value} for step, value in enumerate(values, 1)]


def test_final_and_auc_of_a_planted_curve():
    values = [0.01 * step for step in range(1, 21)]
    found = curves.measures(rows(values), [])
    assert found["final"] == pytest.approx((0.17 + 0.18 + 0.19 + 0.20) / 4)  # the last fifth
    assert found["auc"] == pytest.approx(0.105)
    assert (found["largest_drop"], found["monotonicity"]) == (0.0, 1.0)
    assert found["length"] is None and found["clip_share"] is None
    evals = [
        {"step": 10, "eval_a_pass1": 0.9},
        {"step": 20, "eval_a_pass1": 0.2, "eval_b_pass1": 0.4, "eval_a_pass4": 1.0, "eval_num_samples": 8.0},
    ]
    assert curves.measures(rows(values), evals)["final"] == pytest.approx(0.3)


def test_a_metric_that_is_missing_in_a_step_is_left_out():
    found = curves.measures([*rows([0.5] * 10), {"step": 11, curves.ACCURACY: None}], [])
    assert found["auc"] == 0.5 and found["monotonicity"] is None


def test_the_largest_drop_is_of_the_smoothed_curve():
    # 40 steps: windows of 4. Up to 1, down to 0.4 for 8 steps, up again.
    values = [1.0] * 16 + [0.4] * 8 + [1.0] * 16
    assert curves.largest_drop(values) == pytest.approx(0.6)
    # A single bad step is smoothed to a quarter of its depth.
    assert curves.largest_drop([1.0] * 20 + [0.4] + [1.0] * 19) == pytest.approx(0.15)
    rng = np.random.default_rng(0)
    noise = rng.random(57)
    window = 6  # a tenth, rounded
    smooth = [sum(noise[i : i + window]) / window for i in range(57 - window + 1)]
    assert curves.largest_drop(noise) == pytest.approx(max(a - b for a, b in itertools.combinations(smooth, 2)))


@pytest.mark.parametrize("seed", range(5))
def test_monotonicity_is_scipys_spearman_also_with_ties(seed):
    values = np.random.default_rng(seed).integers(0, 6, size=30) / 6
    wanted = stats.spearmanr(range(30), values).statistic
    assert curves.monotonicity(curves.series(rows(values.tolist()), curves.ACCURACY)) == pytest.approx(wanted)


def test_a_band_has_the_steps_that_all_runs_have():
    found = curves.band([{1: 0.0, 2: 1.0, 3: 5.0}, {1: 2.0, 2: 1.0}])
    half = 12.7062047  # t_{0.975, 1}, times s / sqrt(2) = 1
    assert found["step"] == [1, 2] and found["mean"] == [1.0, 1.0] and found["n"] == 2
    assert (found["low"], found["high"]) == (pytest.approx([1 - half, 1.0]), pytest.approx([1 + half, 1.0]))
    assert curves.band([{1: 0.5}])["low"] == [None]


def values(table):
    """{(start, seed): value} of rows of starts."""
    return {(f"s{i}", j): value for i, row in enumerate(table) for j, value in enumerate(row)}


def test_a_difference_is_paired_and_takes_pairs_that_both_have():
    a = values([[0.1, 0.5, 0.9], [0.2, 0.6, None]]) | {("s9", 0): 3.0}
    b = values([[0.2, 0.6, 1.1], [0.3, 0.5, 0.7]])
    of_seeds = [(0.1 + 0.1) / 2, (0.1 - 0.1) / 2, 0.2]
    found = paired.compare(a, b)
    low, high = stats.t.interval(0.95, 2, loc=np.mean(of_seeds), scale=stats.sem(of_seeds))
    assert (found["n"], found["seeds"], found["wins"]) == (5, 3, 4)
    estimate = found["difference"]
    assert (estimate["value"], estimate["low"], estimate["high"]) == pytest.approx((0.1, low, high))
    assert not estimate["resolved"] and "difference_over_starts" not in found
    assert found["p"] == sign_flip_p(of_seeds)


def test_from_three_starts_on_there_is_an_interval_over_their_means():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 3, 5))
    found = paired.compare(values(a.tolist()), values(b.tolist()))
    means = (b - a).mean(axis=1)
    low, high = stats.t.interval(0.95, 2, loc=means.mean(), scale=stats.sem(means))
    over = found["difference_over_starts"]
    assert (over["value"], over["low"], over["high"]) == pytest.approx((means.mean(), low, high))


def test_all_pairs_of_a_metric_are_adjusted_together():
    table = {"a": 0.0, "b": 1.0, "c": 1.0}

    def of(name, metric):
        return {("s", seed): table[name] + 0.001 * seed for seed in range(8)}

    found = paired.all_pairs(list(table), of)
    assert len(found) == 3 * len(paired.METRICS)
    ab, ac, bc = found[:3]
    assert (ab["a"], ab["b"], ab["difference"]["value"], ab["comparisons"]) == ("a", "b", pytest.approx(1.0), 3)
    assert (ab["p"], ab["p_holm"]) == (2 / 2**8, pytest.approx(3 * 2 / 2**8))
    assert (bc["p"], bc["p_holm"], bc["wins"]) == (1.0, 1.0, 0)
    assert ac["difference"]["resolved"] and not bc["difference"]["resolved"]


def test_a_familys_mean_is_over_what_all_its_methods_have():
    found = paired.mean_over([{("s", 0): 1.0, ("s", 1): 2.0, ("s", 2): None}, {("s", 0): 3.0, ("s", 2): 1.0}])
    assert found == {("s", 0): 2.0}


def test_the_paired_interval_covers_a_planted_effect():
    """1,000 comparisons of 3 starts x 8 seeds with an effect of 0.05. Noise of start and seed is shared by both methods, and a seed moves
    their difference from every start alike: an interval that takes the pairs as independent would be too narrow."""
    rng = np.random.default_rng(0)
    effect, covered, over_pairs, wide, false = 0.05, 0, 0, 0, 0
    for _ in range(1000):
        shared = rng.normal(0, 0.1, size=(3, 1)) + rng.normal(0, 0.05, size=(3, 8))
        a, b = shared + rng.normal(0, 0.02, size=(2, 3, 8)) + rng.normal(0, 0.02, size=(2, 1, 8))
        found = paired.compare(values(a.tolist()), values((b + effect).tolist()))["difference"]
        covered += found["low"] <= effect <= found["high"]
        of_pairs = student.mean((b + effect - a).flatten().tolist())
        over_pairs += of_pairs.low <= effect <= of_pairs.high
        false += paired.compare(values(a.tolist()), values(b.tolist()))["p"] <= 0.05
        wide += found["high"] - found["low"] > 0.15
    assert 930 <= covered <= 970  # 950 +- 3 standard errors
    assert over_pairs < 850
    assert 30 <= false <= 70
    assert wide < 50  # as wide as the shared noise would make an interval that is not paired


def test_with_an_effect_that_varies_by_start_the_interval_over_starts_covers_and_the_other_does_not():
    rng = np.random.default_rng(1)
    effect, over_starts, over_seeds = 0.05, 0, 0
    for _ in range(500):
        difference = effect + rng.normal(0, 0.1, size=(3, 1)) + rng.normal(0, 0.02, size=(3, 5))
        found = paired.compare(values(np.zeros((3, 5)).tolist()), values(difference.tolist()))
        for key, low_high in (
            ("difference_over_starts", found["difference_over_starts"]),
            ("seeds", found["difference"]),
        ):
            hit = low_high["low"] <= effect <= low_high["high"]
            over_starts += hit and key != "seeds"
            over_seeds += hit and key == "seeds"
    assert 460 <= over_starts <= 490
    assert over_seeds < 400
