"""Intervals of `deltal diagnose` against planted gradients with known truth: 100 seeded samples each."""

from collections import defaultdict

import numpy as np
import pytest
from support.planted_gradients import Planted, truth

from deltal_openrlhf.diagnostics.covariance import correlations
from deltal_openrlhf.diagnostics.methods import all_methods
from deltal_openrlhf.diagnostics.settings import Settings
from deltal_openrlhf.diagnostics.study import BatchStudy
from deltal_openrlhf.diagnostics.variance import LengthFit

RUNS = 100
M = 400.0
REFERENCE = "seq-mean-token-sum-norm"
METHODS = {method.key: method for method in all_methods()}


def covered(estimates, true):
    low = [-np.inf if e["low"] is None else e["low"] for e in estimates]
    high = [np.inf if e["high"] is None else e["high"] for e in estimates]
    return sum(a <= true <= b for a, b in zip(low, high, strict=True))


def relative_width(estimates):
    """Half of the interval over 1.96 standard deviations of the estimates: 1 where intervals are as wide as they should be."""
    half = np.median([(e["high"] - e["low"]) / 2 for e in estimates if e["high"] is not None])
    return half / 1.96 / np.std([e["value"] for e in estimates])


def study(planted, seed, *, prompts, batch_prompts, partitions):
    settings = Settings(max_length=M, batch_prompts=batch_prompts, partitions=partitions, rollout_batches=2, seed=seed)
    return BatchStudy(planted.sample(seed, prompts).by_prompt(), settings, np.random.default_rng(seed))


def rows(planted, keys, *, prompts=80, batch_prompts=5, partitions=60, runs=RUNS):
    found = defaultdict(list)
    for seed in range(runs):
        one = study(planted, seed, prompts=prompts, batch_prompts=batch_prompts, partitions=partitions)
        for key in keys:
            found[key].append(one.row(METHODS[key]))
    return found


def check(found, true, key, names, *, widths):
    for name in names:
        estimates = [row[name] for row in found[key]]
        assert covered(estimates, true[key][name]) >= 90, (key, name)
        if key != REFERENCE:
            assert widths[0] < relative_width(estimates) < widths[1], (key, name)


@pytest.mark.timeout(600)
def test_intervals_of_batch_statistics_cover_the_truth_and_are_not_too_wide():
    # CV of a batch about 1.4; the mean gradient turns with the length, so that the methods are biased
    planted = Planted(beta=1.0, mean=1.3, turn=0.4, rho=0.1, tail=0.3)
    keys = ["seq-mean-token-mean", "deltal-0.5-step", "deltal-1-step", "deltal-1-rollout", "deltal-1-group", REFERENCE]
    true = truth(planted, keys, batch_prompts=5, max_length=M)
    found = rows(planted, keys)
    absolute = ("cv", "batch_cosine", "batch_cosine_reference", "norm")
    against = ("cv_ratio", "cosine", "relative_norm", "relative_bias")
    for key in keys:
        check(found, true, key, absolute if key == REFERENCE else absolute + against, widths=(0.85, 1.3))
        mean_cv = np.mean([row["cv"]["value"] for row in found[key]])
        assert mean_cv == pytest.approx(true[key]["cv"], rel=0.02)
    assert true["deltal-1-step"]["cv_ratio"] < 0.8  # which every run sees
    assert all(row["cv_ratio"]["resolved"] for row in found["deltal-1-step"])
    # negative control: the biases are there, and a method without one would not be covered
    assert covered([row["relative_norm"] for row in found["seq-mean-token-mean"]], 1.0) == 0
    assert covered([row["cosine"] for row in found["deltal-1-step"]], 1.0) < 50


def test_a_detectable_bias_is_resolved_in_about_80_of_100():
    planted = Planted(mean=1.3, turn=0.4)
    true = truth(planted, ["deltal-1-step", REFERENCE], batch_prompts=5, max_length=M, batches=50_000, cosines=10)
    found = rows(planted, ["deltal-1-step"], partitions=40)["deltal-1-step"]
    # planted so that the bias is what can be detected
    assert np.median([row["detectable_bias"] for row in found]) == pytest.approx(
        true["deltal-1-step"]["relative_bias"], rel=0.05
    )
    assert 68 <= sum(row["relative_bias"]["resolved"] for row in found) <= 92


@pytest.mark.timeout(600)
def test_intervals_hold_where_the_mean_can_hardly_be_told_from_zero():
    planted = Planted(beta=1.0, mean=0.45, turn=0.4, rho=0.1)
    keys = ["deltal-1-step", REFERENCE]
    true = truth(planted, keys, batch_prompts=5, max_length=M)
    found = rows(planted, keys)
    check(found, true, "deltal-1-step", ("cv", "cv_ratio", "relative_bias", "cosine"), widths=(0.0, np.inf))
    check(found, true, REFERENCE, ("cv", "batch_cosine_reference"), widths=(0.0, np.inf))
    unresolved = [row["cv"] for row in found[REFERENCE] if not row["cv"]["resolved"]]
    assert 3 <= len(unresolved) <= 60
    assert all(cv["high"] is None for cv in unresolved)
    # the paired ratio does better than a difference of 30 % in two intervals of that width
    assert sum(row["cv_ratio"]["resolved"] for row in found["deltal-1-step"]) > 40


def test_the_number_of_partitions_does_not_set_the_width():
    planted = Planted(beta=1.0, mean=1.3, turn=0.4)

    def width(partitions):
        found = rows(planted, ["deltal-1-step"], partitions=partitions, runs=12)["deltal-1-step"]
        return np.mean([row["cv"]["high"] - row["cv"]["low"] for row in found])

    few = width(8)
    assert few == pytest.approx(width(150), rel=0.15)
    # negative control: the plain jackknife of few partitions is much wider
    one = study(planted, 0, prompts=80, batch_prompts=5, partitions=8)
    one.row(METHODS["deltal-0.5-step"])
    moments = one.toward[0.5]
    plain = (79 / 80) * (moments.influence[0] ** 2).sum()
    assert plain > 1.5 * moments.covariance(np.ones((1, 1)))[0, 0]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "planted",
    [
        Planted(beta=0.5, mean=1.5, rho=0.1),
        Planted(beta=1.0, mean=3.0, stretch=0.4, tail=0.4),
        Planted(beta=1.5, mean=1.5, turn=0.3, rho=0.2, tail=0.4),
    ],
    ids=lambda planted: f"beta {planted.beta}",
)
def test_exponent_and_correlations(planted):
    prompts = 64
    groups = np.repeat(np.arange(prompts), planted.n)
    betas, plain, pairs = [], [], {"within": [], "between": [], "excess": []}
    for seed in range(RUNS):
        rng = np.random.default_rng(seed)
        lengths = planted.lengths(rng, prompts)
        g = planted.gradients(rng, lengths).reshape(len(groups), -1)
        gram = g @ g.T
        fit = LengthFit(lengths.reshape(-1), groups, rng, resamples=200)
        betas.append(fit.fit(gram)["beta"])
        plain.append(fit.fit(np.diag(np.diag(gram)))["beta"])  # without the products there is no mean to subtract
        for name, estimates in pairs.items():
            estimates.append(correlations(gram, groups)[name])
    assert covered(betas, planted.beta) >= 90
    assert 0.8 < relative_width(betas) < 1.3
    assert np.mean([e["value"] for e in betas]) == pytest.approx(planted.beta, abs=0.02)
    if planted.beta == 0.5:  # negative control: with the large mean in it, the exponent is that of |mean|^2 + c L^beta
        assert covered(plain, planted.beta) == 0
    for name, true in mean_correlations(planted).items():
        assert covered(pairs[name], true) >= 90
        assert 0.75 < relative_width(pairs[name]) < 1.35
    if planted.rho == 0:  # independent, and yet pairs of one prompt are correlated: by the mean
        assert covered(pairs["excess"], 0.0) >= 90 and covered(pairs["within"], 0.0) == 0


def mean_correlations(planted, prompts=4000):
    """Of one large sample, from the gradients themselves."""
    rng = np.random.default_rng(12345)
    g = planted.gradients(rng, planted.lengths(rng, prompts))
    units = g / np.linalg.norm(g, axis=2, keepdims=True)
    of_prompt = units.sum(axis=1)
    squares = (of_prompt**2).sum(axis=1)
    whole = of_prompt.sum(axis=0)
    n = planted.n
    within = (squares - n).mean() / (n * (n - 1))
    between = (whole @ whole - squares.sum()) / (prompts * (prompts - 1) * n**2)
    return {"within": within, "between": between, "excess": within - between}
