"""Findings as `deltal diagnose` writes them, of sizes seen on the countdown task. Comparisons: comparison_examples.py."""

import math
import random

TYPES = ("q", "k", "v", "o", "mlp", "embedding", "norm", "head")


def est(value, half=None, resolved=True, low=None, high=None):
    """An estimate; half: half the width of a symmetric interval."""
    if half is not None:
        low, high = value - half, value + half
    return {"value": value, "low": low, "high": high, "resolved": resolved}


NOTHING = est(None, resolved=False)


def fit(beta, half, responses, prompts, rng, wide=1.0):
    bins, low = [], 8
    for i in range(8):
        high = int(low * 1.45) + 1
        length = math.sqrt(low * high)
        variance = 3.1e-4 * length**beta * math.exp(rng.gauss(0, 0.12))
        bins.append(
            {
                "length": length,
                "from": low,
                "to": high,
                "responses": responses // 8 + (i == 0) * (responses % 8),
                "variance": est(variance, low=variance * (1 - 0.25 * wide), high=variance * (1 + 0.3 * wide)),
                "fitted": 3.1e-4 * length**beta,
            }
        )
        low = high
    return {
        "beta": est(beta, half, resolved=half < 0.5),
        "responses": responses,
        "prompts": prompts,
        "bins": bins,
        "bins_off": 0,
        "intercept": math.log(3.1e-4),
    }


def fits(rng, beta, responses, prompts, types):
    by_type = {"all": fit(beta, 0.14, responses, prompts, rng)}
    for i, name in enumerate(types):
        by_type[name] = fit(beta + rng.gauss(0, 0.2), 0.1 + 0.08 * i, responses, prompts, rng)
    return by_type


def covariances(rng, within, types):
    return {
        name: {
            "within": est(within + rng.gauss(0, 0.02), 0.012),
            "between": est(rng.gauss(0, 0.002), 0.003, resolved=False),
            "excess": est(within + rng.gauss(0, 0.02), 0.013),
            "pairs_within": 3584,
            "pairs_between": 520_192,
        }
        for name in ("all", *types)
    }


def estimator(name, mode, kind, alpha, scope, noise, bias, rng, *, key=None, comparable=False, reference=False):
    """noise: the CV relative to the reference's; bias: the relative bias."""
    cv = 2.28 * noise
    ratio = est(noise, 0.05, resolved=abs(noise - 1) > 0.05)
    scale = 2.4e-4 if comparable else 8.8e-3
    return {
        "key": key or f"{mode}-{alpha:g}-{scope}",
        "name": name,
        "mode": mode,
        "alpha": alpha,
        "scope": scope,
        "advantage": "group_norm",
        "kind": kind,
        "comparable_scale": comparable,
        "cv": est(cv, low=cv - 0.12, high=cv + 0.17),
        "cv_ratio": est(1.0, 0.0, resolved=False) if reference else ratio,
        "cosine": est(1.0, 0.0, resolved=False) if reference else est(1 - bias**2 / 2, 0.01, resolved=bias > 0.15),
        "relative_norm": est(1.0, 0.0, resolved=False) if reference else est(1 - bias / 3, 0.06, resolved=False),
        "relative_bias": est(0.0, 0.0, resolved=False)
        if reference
        else est(bias, low=max(0, bias - 0.11), high=bias + 0.09, resolved=bias > 0.11),
        "detectable_bias": None if reference else 0.14 + 0.03 * rng.random(),
        "ess": est(128 / (1 + (alpha or 0) ** 2 / 1.5), 3.0),
        "responses_per_batch": 128.0,
        "batch_cosine": est(1 / math.sqrt(1 + cv**2), 0.012),
        "batch_cosine_reference": est((1 - bias**2 / 2) / math.sqrt(1 + cv**2), 0.014),
        "norm": est(scale * 2.5, scale * 0.1),
        "norm_short": est(scale * 1.4, scale * 0.12),
        "norm_long": est(scale * 3.9 * (1 - 0.3 * (alpha or 0)), scale * 0.4),
        "norm_ratio": est(2.8 * (1 - 0.3 * (alpha or 0)), 0.3),
    }


def estimators(rng):
    found = [
        estimator("DAPO norm", "token-mean", "baseline", None, None, 1.0, 0.03, rng, key="token-mean"),
        estimator(
            "GRPO norm", "seq-mean-token-mean", "baseline", None, None, 0.776, 0.16, rng, key="seq-mean-token-mean"
        ),
        estimator(
            "Dr. GRPO norm",
            "seq-mean-token-sum-norm",
            "baseline",
            None,
            None,
            1.0,
            0.0,
            rng,
            key="seq-mean-token-sum-norm",
            comparable=True,
            reference=True,
        ),
    ]
    for scope, worse in (("step", 0.0), ("rollout", 0.02), ("group", 0.09)):
        for alpha in (0.25, 0.5, 0.75, 1.0, 1.25, 1.5):
            name = f"∆L {alpha:g}" + ("" if scope == "step" else f" ({scope})")
            noise = 1 - 0.4 * alpha + 0.176 * alpha**2 + worse * alpha
            found.append(estimator(name, "deltal", "deltal", alpha, scope, noise, 0.16 * alpha, rng, comparable=True))
    found += [
        estimator("OPO", "opo", "comparison", None, None, 0.96, 0.05, rng, key="opo"),
        estimator("λ-GRPO (fixed λ = 1)", "lambda-grpo", "comparison", None, None, 1.04, 0.06, rng, key="lambda-long"),
        estimator(
            "λ-GRPO (fixed λ = -1)", "lambda-grpo", "comparison", None, None, 0.93, 0.06, rng, key="lambda-short"
        ),
        estimator(
            "Balanced aggregation", "balanced-aggregation", "comparison", None, None, 0.9, 0.2, rng, key="balanced"
        ),
    ]
    rng.shuffle(found)  # the order of the page is its own
    return found


def findings(seed=0, types=TYPES, responses=1024, prompts=128):
    rng = random.Random(seed)
    n = responses // prompts
    return {
        "format": 1,
        "source": {
            "model": "runs/starts/0",
            "data": "runs/task/train.jsonl",
            "temperature": 1.0,
            "projection": {"kind": "sketch", "width": 8192, "relative_error": 0.016},
            "seconds": 412.7,
            "peak_memory_gb": 1.234,
            "command": "deltal diagnose --model runs/starts/0 --data runs/task/train.jsonl --out runs/diagnose",
        },
        "sample": {
            "responses": responses,
            "prompts": prompts,
            "responses_per_prompt": n,
            "batch_prompts": 16,
            "batches": prompts // 16,
            "partitions": 200,
            "lengths": {"min": 8, "p5": 12.0, "p50": 23.0, "mean": 34.61, "p95": 89.0, "max": 134},
            "reward_mean": 0.2178,
            "prompts_without_signal": 0.1875,
            "ess_share": 0.61,
            "truncated": 0.0244,
            "advantage": "group_norm",
            "max_length": 134,
            "rollout_batches": 4,
        },
        "obstacles": [],
        "lengths": {"edges": [8, 50, 92, 134, 176], "finished": [700, 200, 90, 9], "truncated": [0, 0, 0, 25]},
        "rewards_by_length": [
            {"length": 12.0, "from": 8, "to": 20, "responses": 512, "prompts": 120, "reward": est(0.3, 0.06)},
            {"length": 57.2, "from": 21, "to": 134, "responses": 512, "prompts": 124, "reward": est(0.14, 0.05)},
        ],
        "responses": [
            {"prompt": "1 + 1?", "response": "2<eos>", "reward": 1.0, "length": 8, "truncated": False},
            {"prompt": "1 + 2?", "response": "2 or", "reward": 0.0, "length": 134, "truncated": True},
            {"prompt": "1 + 3?", "response": None, "reward": 0.0, "length": 1, "truncated": False},
        ],
        "variance": {
            "with_advantage": fits(rng, 1.23, int(responses * 0.8125), int(prompts * 0.8125), types),
            "without_advantage": fits(rng, 1.06, responses, prompts, types),
        },
        "covariance": {
            "with_advantage": covariances(rng, -0.03, types),
            "without_advantage": covariances(rng, 0.21, types),
        },
        "estimators": estimators(rng),
        "ordering": [
            {"a": "deltal-1-step", "b": "deltal-0.75-step", "cv_ratio": est(0.957, 0.02)},
            {"a": "token-mean", "b": "seq-mean-token-sum-norm", "cv_ratio": est(0.999, 0.01, resolved=False)},
        ],
        "recommendation": {
            "alpha": None,
            "candidates": [0.75, 1.0],
            "resolved": False,
            "criterion": "largest expected cosine of one batch's gradient with the mean gradient of Dr. GRPO norm",
            "text": "Between 0.75 and 1; these data do not tell them apart. About 2,600 more responses would do.",
            "more_responses": 2600,
        },
    }


def unresolved_findings(seed=1):
    """Few responses mid-training: means not told from 0, infinite CVs, thirds of prompts without two batches, a bin below 0."""
    found = findings(seed, types=("qkv", "mlp"), responses=256, prompts=64)
    for method in found["estimators"]:
        if method["mode"] != "seq-mean-token-sum-norm":
            value = method["cv"]["value"] * 2.4
            method["cv"] = est(value, low=value * 0.8, high=None, resolved=False)
            method["cv_ratio"] = est(method["cv_ratio"]["value"], low=0.4, high=None, resolved=False)
            method["cosine"] = est(0.95, low=-0.2, high=1.0, resolved=False)
            method["relative_bias"] = est(0.0, low=0.0, high=0.9, resolved=False)
            method["detectable_bias"] = 0.85
        for key in ("norm_short", "norm_long", "norm_ratio"):
            method[key] = NOTHING
    found["estimators"][0]["cv"] = est(None, low=3.2, high=None, resolved=False)
    found["estimators"][1]["cosine"] = NOTHING
    for by_type in found["variance"].values():
        by_type["mlp"]["beta"] = est(1.4, 0.9, resolved=False)
        by_type["all"]["bins"][0]["variance"] = est(-2e-4, low=-9e-4, high=4e-4, resolved=False)
        by_type["all"]["bins"][2]["variance"] |= {"low": -1e-4, "resolved": False}
    found["recommendation"] = {
        "alpha": None,
        "candidates": [0, 0.25, 0.5, 0.75, 1.0],
        "resolved": False,
        "criterion": "largest expected cosine",
        "text": "Not resolved: no alpha can be told from the others.",
        "more_responses": None,
    }
    return found


def null_findings():
    """Every estimate null."""

    def nulled(value):
        if isinstance(value, dict):
            return (
                dict(NOTHING)
                if set(value) == {"value", "low", "high", "resolved"}
                else {k: nulled(v) for k, v in value.items()}
            )
        return [nulled(v) for v in value] if isinstance(value, list) else value

    found = nulled(findings())
    for method in found["estimators"]:
        method["detectable_bias"] = None
    for by_type in found["variance"].values():
        for one in by_type.values():
            one["intercept"] = None
            for of_bin in one["bins"]:
                of_bin["fitted"] = None
    return found
