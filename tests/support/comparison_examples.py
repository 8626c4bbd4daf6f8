"""Comparisons as `deltal compare` writes them, of sizes seen on the countdown task."""

import math
import random

from support.report_examples import NOTHING, est

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
        "interactions_with": None,
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
        "interactions": [],
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
