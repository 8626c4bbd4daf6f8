"""Weights, advantages and moments of the methods against formulas and loops written out."""

import numpy as np
import pytest
import torch
from scipy.optimize import root

from deltal_openrlhf.diagnostics.advantages import advantages
from deltal_openrlhf.diagnostics.batches import batch_moments, prompt_gradients
from deltal_openrlhf.diagnostics.methods import (
    REFERENCE,
    StepWeights,
    all_methods,
    lambda_factors,
)
from deltal_openrlhf.diagnostics.partitions import Partitions
from deltal_openrlhf.diagnostics.variance import LengthFit, gamma_regression

METHODS = {method.key: method for method in all_methods()}
M = 50.0


def test_advantages():
    rewards = np.array([[1.0, 0.0, 0.0, 1.0], [0.5, 0.1, 0.9, 0.1], [0.7, 0.7, 0.7, 0.7]])
    lengths = np.array([[10, 30, 20, 40], [1, 2, 3, 4], [5, 6, 7, 8]])
    r = torch.tensor(rewards)
    host = {
        "group_norm": (r - r.mean(-1, keepdim=True)) / (r.std(-1, keepdim=True) + 1e-9),
        "dr_grpo": r - r.mean(-1, keepdim=True),
        "rloo": r - (r.sum(-1, keepdim=True) - r) / 3,
    }
    for estimator, expected in host.items():
        np.testing.assert_allclose(advantages(rewards, lengths, estimator=estimator)[:2], expected[:2], rtol=1e-6)
    # 1 - (10 + 40) / 100; (0.5 + 0.2 + 2.7 + 0.4) / 10 = 0.38
    np.testing.assert_allclose(
        advantages(rewards, lengths, estimator="opo")[:2], [[0.5, -0.5, -0.5, 0.5], [0.12, -0.28, 0.52, -0.28]]
    )
    for estimator in (*host, "opo"):
        assert not advantages(rewards, lengths, estimator=estimator)[2].any()
    with pytest.raises(ValueError, match="advantage is 'gae', allowed are group_norm, dr_grpo, rloo"):
        advantages(rewards, lengths, estimator="gae")
    with pytest.raises(ValueError, match="has 1 response"):
        advantages(rewards[:, :1], lengths[:, :1], estimator="rloo")


def by_hand(method, lengths, advantages_of_step, rollout):
    """x [B, n] of one step, written out. lengths: [B, n]; rollout: [more, n], the lengths of its rollout batch."""
    count, n = lengths.size, lengths.shape[1]
    if method.key == "token-mean":
        return np.full(lengths.shape, 1 / lengths.sum())
    if method.key == "seq-mean-token-mean":
        return 1 / (count * lengths)
    if method.key in (REFERENCE, "opo"):
        return np.full(lengths.shape, 1 / (count * M))
    if method.mode == "deltal":
        power = lengths**-method.alpha
        mean = {
            "step": power.mean(),
            "rollout": (rollout**-method.alpha).mean(),
            "group": power.mean(axis=1, keepdims=True),
        }[method.scope]
        return power / mean / (M * count)
    if method.mode == "lambda-grpo":
        z = (lengths - lengths.mean(axis=1, keepdims=True)) / lengths.std(axis=1, keepdims=True)
        exp = np.exp((1 + z / 9) ** method.length_preference)
        return n * exp / exp.sum(axis=1, keepdims=True) / lengths.sum()
    if method.key == "prompt-mean":
        return np.broadcast_to(1 / lengths.sum(axis=1, keepdims=True) / len(lengths), lengths.shape)
    weights = np.zeros(lengths.shape)  # balanced aggregation
    for p, row in enumerate(advantages_of_step):
        for sign in (1, -1):
            same = np.sign(row) == sign
            if same.any():
                weights[p, same] = same.sum() / n / lengths[p, same].sum() / len(lengths)
    return weights


@pytest.mark.parametrize("key", METHODS)
def test_weights_of_a_step_are_its_scale_times_the_profile(key):
    rng = np.random.default_rng(1)
    prompts, n, method = 17, 4, METHODS[key]
    lengths = rng.integers(1, 50, size=(prompts, n)).astype(float)
    a = rng.normal(size=(prompts, n))
    factors = None
    if method.mode == "lambda-grpo":
        factors = lambda_factors(lengths, method.length_preference)
    weights = StepWeights(method, lengths, a, M, factors)
    partitions = Partitions.draw(np.arange(prompts), 2, 3, prompts, rng).in_blocks(3)  # 6 of 8 batches, in 2 rollouts
    assert partitions.steps.shape == (3, 6, 2)
    scales, profile = weights.scales(partitions), weights.profile()
    for r in range(3):
        for b in range(6):
            step = partitions.steps[r, b]
            rollout = partitions.steps[r, b // 3 * 3 : b // 3 * 3 + 3].reshape(-1)
            expected = by_hand(method, lengths[step], a[step], lengths[rollout])
            np.testing.assert_allclose(scales[r, b] * profile[step], expected, rtol=1e-12)


def test_a_response_without_tokens_has_no_weight():
    lengths = np.array([[3.0, 0.0], [0.0, 0.0], [5.0, 2.0], [4.0, 4.0]])
    partitions = Partitions(np.array([[[0, 1], [2, 3]], [[1, 1], [0, 2]]]), 4)
    for key in ("token-mean", "seq-mean-token-mean", REFERENCE, "deltal-1-step", "deltal-0.5-group", "deltal-1.5-step"):
        weights = StepWeights(METHODS[key], lengths, np.ones(lengths.shape), M)
        scales, profile = weights.scales(partitions), weights.profile()
        assert np.isfinite(profile).all() and not profile[lengths == 0].any()
        assert scales[1, 0] == 0
        x = scales[0, 0] * profile[0, 0]  # of the only response of its step
        alone = {"token-mean": 1 / 3, "seq-mean-token-mean": 1 / 3}
        assert x == pytest.approx(alone.get(key, 1 / M))


def test_factors_of_the_comparisons_by_hand():
    lengths = np.array([[1.0, 2.0, 3.0]])  # z = -sqrt(3/2), 0, sqrt(3/2)
    h = 1 + np.array([-1, 0, 1]) * np.sqrt(1.5) / 9
    np.testing.assert_allclose(lambda_factors(lengths, 1.0)[0], 3 * np.exp(h) / np.exp(h).sum())
    np.testing.assert_allclose(lambda_factors(lengths, -1.0)[0], 3 * np.exp(1 / h) / np.exp(1 / h).sum())
    np.testing.assert_allclose(lambda_factors(np.full((1, 3), 7.0), 1.0), 1)
    long, short = lambda_factors(lengths, 1.0)[0], lambda_factors(lengths, -1.0)[0]
    assert long[2] > 1 > long[0] and short[0] > 1 > short[2]


def test_the_methods():
    assert len(METHODS) == len(all_methods()) == 26
    deltal = [method for method in METHODS.values() if method.mode == "deltal"]
    assert {(m.alpha, m.scope) for m in deltal} == {
        (a, s) for a in (0.25, 0.5, 0.75, 1, 1.25, 1.5) for s in ("step", "rollout", "group")
    }
    assert {m.key for m in METHODS.values() if m.comparable_scale} == {m.key for m in deltal} | {REFERENCE}


@pytest.mark.parametrize("block", [1, 2])
def test_moments_and_leaving_out_against_loops(block):
    rng = np.random.default_rng(3)
    prompts, n, d, size = 27, 2, 5, 2
    scores, lengths = rng.normal(size=(prompts, n, d)), rng.integers(1, 50, size=(prompts, n)).astype(float)
    a = rng.normal(size=(prompts, n))
    flat = scores.reshape(-1, d)
    method = StepWeights(METHODS["deltal-1-rollout" if block == 2 else "deltal-1-step"], lengths, a, M)
    reference = StepWeights(METHODS[REFERENCE], lengths, a, M)
    part = reference.profile() * a
    partitions = Partitions.draw(np.arange(prompts), size, 2, prompts, rng).in_blocks(
        block
    )  # 13 batches; 6 blocks of 2
    found = batch_moments(
        prompt_gradients(flat @ flat.T, method.profile(), a, part),
        prompt_gradients(flat @ flat.T, reference.profile(), a, part),
        method.scales(partitions),
        reference.scales(partitions),
        partitions,
    )

    def gradient(weights, r, b):
        step = partitions.steps[r, b]
        x = weights.scales(partitions)[r, b] * weights.profile()[step]
        return np.einsum("pi,pi,pid->d", x, a[step], scores[step]), x

    def moments(r, without):
        holds = [without in partitions.steps[r, i * block : (i + 1) * block] for i in range(partitions.blocks)]
        batches = [b for b in range(partitions.steps.shape[1]) if not holds[b // block]]
        g = {b: gradient(method, r, b)[0] for b in batches}
        f = {b: gradient(reference, r, b)[0] for b in batches}
        x = [gradient(method, r, b)[1] for b in batches]
        pairs = [(b, c) for b in batches for c in batches if b // block != c // block]
        return {
            "square": np.mean([g[b] @ g[b] for b in batches]),
            "mean": np.mean([g[b] @ g[c] for b, c in pairs]),
            "cross": np.mean([g[b] @ f[c] for b, c in pairs]),
            "own": np.mean([g[b] @ g[c] / np.linalg.norm(g[b]) for b, c in pairs]),
            "toward": np.mean([g[b] @ f[c] / np.linalg.norm(g[b]) for b, c in pairs]),
            "ess": np.mean([w.sum() ** 2 / (w**2).sum() for w in x]),
            "reference_square": np.mean([f[b] @ f[b] for b in batches]),
            "reference_mean": np.mean([f[b] @ f[c] for b, c in pairs]),
        }

    for r in range(2):
        whole = moments(r, -1)
        np.testing.assert_allclose(found.draws[:, r], [whole[name] for name in found.names], rtol=1e-9)
        missing = next(p for p in range(prompts) if p not in partitions.steps[r])
        for p in (0, 7, missing):
            expected = moments(r, p)
            np.testing.assert_allclose(found.left_out[:, r, p], [expected[name] for name in found.names], rtol=1e-9)


def test_gamma_regression_solves_its_equations():
    rng = np.random.default_rng(0)
    log_lengths = rng.normal(4, 0.8, size=300)
    y = np.exp(0.5 + 1.3 * log_lengths) * rng.normal(1.0, 0.8, size=300)
    assert (y < 0).any()
    weights = rng.integers(0, 3, size=(4, 300)).astype(float)
    beta, intercept = gamma_regression(log_lengths, np.tile(y, (4, 1)), weights)
    x = np.stack([np.ones(300), log_lengths])
    for w, b, c in zip(weights, beta, intercept, strict=True):
        expected = root(lambda t, w=w: x @ (w * (y * np.exp(-t @ x) - 1)), [0.5, 1.3])
        assert expected.success
        np.testing.assert_allclose([c, b], expected.x, rtol=1e-6)


def test_bins_hold_every_response_once():
    rng = np.random.default_rng(0)
    lengths = np.minimum(rng.integers(5, 80, size=200), 50).astype(float)  # a third at the limit
    scores = rng.normal(size=(200, 3)) * lengths[:, None]
    fit = LengthFit(lengths, np.repeat(np.arange(50), 4), rng, resamples=50).fit(scores @ scores.T)
    assert sum(bin["responses"] for bin in fit["bins"]) == 200
    assert all(bin["responses"] >= 10 for bin in fit["bins"])
    assert [bin["from"] for bin in fit["bins"][1:]] > [bin["to"] for bin in fit["bins"][:-1]]
    assert fit["bins"][-1]["to"] == 50
    assert fit["responses"] == 200 and fit["prompts"] == 50
