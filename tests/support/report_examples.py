"""Findings and comparisons as `deltal diagnose` and `deltal compare` write them, of sizes seen on the countdown task."""

import math
import random

TYPES = ("q", "k", "v", "o", "mlp", "embedding", "norm", "head")


def est(value, half=None, resolved=True, low=None, high=None):
    """An estimate; half: half the width of a symmetric interval."""
    if half is not None:
        low, high = value - half, value + half
    return {"value": value, "low": low, "high": high, "resolved": resolved}


NOTHING = est(None, resolved=False)


# ── diagnose ──


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
            "truncated": 0.0244,
            "advantage": "group_norm",
            "max_length": 134,
            "rollout_batches": 4,
        },
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
        by_type["all"]["bins"][0]["variance"] = est(-2e-4, low=-9e-4, high=4e-4)
        by_type["all"]["bins"][2]["variance"]["low"] = -1e-4
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


# ── compare ──


METHODS = {
    "GRPO norm": "alpha 1",
    "∆L 1": "alpha 1",
    "∆L 0.75": "alpha 1",
    "DAPO norm": "alpha 0",
    "Dr. GRPO norm": "alpha 0",
}
GAINS = {"alpha 1": 0.27, "alpha 0": 0.225}


def curve(rng, steps, runs, value, spread):
    """value: step -> mean; no band with one run."""
    half = 2.1 * spread / math.sqrt(runs)
    mean = [value(step) + rng.gauss(0, spread / math.sqrt(runs)) for step in steps]
    band = runs > 1
    return {
        "step": list(steps),
        "mean": mean,
        "low": [m - half for m in mean] if band else None,
        "high": [m + half for m in mean] if band else None,
        "n": runs,
    }


def method(rng, name, family, runs, held_out, steps):
    gain = GAINS[family] + rng.gauss(0, 0.006)

    def some(value, half):
        return est(value, half) if runs > 1 else est(value)

    curves = {
        "accuracy": curve(rng, range(1, steps + 1), runs, lambda s: 0.2 + gain * (1 - math.exp(-s / 25)), 0.05),
        "length": curve(rng, range(1, steps + 1), runs, lambda s: 35 + 60 * gain / 0.27 * (s / steps), 4),
        "entropy": curve(rng, range(1, steps + 1), runs, lambda s: 0.62 * math.exp(-s / 90), 0.02),
        "grad_norm": curve(
            rng,
            range(1, steps + 1),
            runs,
            lambda s: (0.8 if name in ("GRPO norm", "DAPO norm") else 0.025) * (1 + s / steps),
            0.002,
        ),
    }
    if held_out:
        curves["held_out"] = curve(
            rng, range(0, steps + 1, 10), runs, lambda s: 0.19 + gain * (1 - math.exp(-s / 25)), 0.02
        )
    return {
        "name": name,
        "family": family,
        "learning_rate": 2e-4 if family == "alpha 1" else 1e-4,
        "runs": runs,
        "crashed": [],
        "final": some(0.19 + gain * 0.91, 0.012),
        "auc": some(0.19 + gain * 0.6, 0.008),
        "largest_drop": some(0.041, 0.012),
        "monotonicity": some(0.873, 0.03),
        "length": some(91.3, 4.2),
        "entropy": some(0.3421, 0.011),
        "grad_norm": some(0.0312, 0.0021),
        "clip_share": some(0.0, 0.0),
        "curves": curves,
    }


METRICS = ("final", "auc", "largest_drop", "monotonicity")
FLAGS = {
    "data.prompt_dataset": "runs/starts/train.jsonl",
    "rollout.batch_size": 16,
    "rollout.n_samples_per_prompt": 8,
    "rollout.max_new_tokens": 256,
    "train.batch_size": 128,
}


def pair(rng, a, b, metric, true, n):
    value = true + rng.gauss(0, 0.008)
    half = 0.05 / math.sqrt(n)
    found = {
        "a": a,
        "b": b,
        "metric": metric,
        "difference": est(value, half, resolved=abs(value) > half) if n > 1 else est(value, resolved=False),
        "n": n,
        "wins": n if value > half else 0 if value < -half else n // 2,
        "p": 0.0312,
        "p_holm": 0.125,
        "comparisons": 10,
    }
    if n >= 3:
        found["difference_over_starts"] = est(value, 3 * half, resolved=abs(value) > 3 * half)
    return found


def arm(rng, name="one step", runs=15, steps=60, held_out=True, methods=METHODS):
    names = list(methods)
    couples = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    families = list(dict.fromkeys(methods.values()))
    return {
        "name": name,
        "flags": FLAGS if name == "one step" else {**FLAGS, "train.batch_size": 32},
        "final_from": "held_out" if held_out else "reward",
        "final_step": steps if held_out else None,
        "warnings": [],
        "steps": steps,
        "seconds": 1520.4,
        "cpu_seconds": 2980.1,
        "cpu_seconds_of_rates": 610.2,
        "learning_rates": [
            {
                "family": family,
                "lr": lr,
                "score": est(0.3 + 0.05 * (1 - math.log10(lr / 2e-4) ** 2) + rng.gauss(0, 0.005), 0.02),
                "runs": 4,
                "chosen": lr == (2e-4 if family == "alpha 1" else 1e-4),
            }
            for family in families
            for lr in (5e-5, 1e-4, 2e-4, 4e-4)
        ],
        "methods": [method(rng, label, family, runs, held_out, steps) for label, family in methods.items()],
        "pairs": [
            pair(rng, a, b, metric, GAINS[methods[b]] - GAINS[methods[a]], runs)
            for metric in METRICS
            for a, b in couples
        ],
        "families": [pair(rng, "alpha 0", "alpha 1", metric, 0.045, runs) for metric in METRICS]
        if len(families) > 1
        else [],
    }


def comparison(seed=0):
    rng = random.Random(seed)
    arms = [arm(rng), arm(rng, "four steps", held_out=False)]
    spec = {
        "engine": "loop",
        "arms": [{"name": one["name"], "flags": one["flags"], "seeds": [0, 1, 2, 3, 4]} for one in arms],
    }
    return {
        "format": 1,
        "engine": "loop",
        "spec": spec,
        "seconds": 3122.6,
        "cpu_seconds": 6010.9,
        "unfinished": [],
        "starts": ["start0", "start1", "start2"],
        "arms": arms,
    }


def interrupted_comparison(seed=1):
    """Unfinished runs, crashed runs, a method without a finished run, one without a curve, n that differ."""
    found = comparison(seed)
    found["unfinished"] = [f"runs/one-step/start{start}/deltal-0.75/seed{k}" for start in range(3) for k in range(5)]
    del found["arms"][1]
    first = found["arms"][0]
    first["methods"][1]["runs"] = 12
    for one in first["methods"][1]["curves"].values():
        one["n"] = 12
    first["methods"][1]["crashed"] = [
        {"run": "one step/0/∆L 1/seed3", "reason": 'killed (out of memory?) while "sampling" <step 12> & more'},
        {"run": "one step/2/∆L 1/seed4", "reason": "ValueError: loss is nan at step 41"},
    ]
    lost = first["methods"][2]
    lost["runs"], lost["curves"] = 0, {}
    for key in ("final", "auc", "largest_drop", "monotonicity", "length", "entropy", "grad_norm", "clip_share"):
        lost[key] = NOTHING
    del first["methods"][3]["curves"]["entropy"]
    for found_pair in first["pairs"]:
        if lost["name"] in (found_pair["a"], found_pair["b"]):
            found_pair.update(difference=NOTHING, n=0, wins=0, p=None)
            found_pair.pop("difference_over_starts")
        elif "∆L 1" in (found_pair["a"], found_pair["b"]):
            found_pair["n"] = 12
    first["warnings"] = ["alpha 1: the chosen learning rate, 0.0004, is the highest of those tried; try more of them"]
    return found


def smallest_comparison():
    """One method, one seed: no interval anywhere, nothing to compare, no learning rate chosen."""
    found = comparison()
    only = arm(random.Random(2), runs=1, held_out=False, methods={"∆L 1": "alpha 1"})
    only["learning_rates"] = []
    return {**found, "arms": [only], "starts": ["start0"]}


def one_seed_comparison():
    return {**comparison(), "arms": [arm(random.Random(3), runs=1)], "starts": ["start0"]}
