"""The curves of a report: which metrics stand in which panel, and their values."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deltal_openrlhf.training_report.folder import TrainingRun

Row = Mapping[str, Any]
Value = Callable[[Row], float | None]


@dataclass(frozen=True)
class Series:
    label: str
    """The name of the metric on a page of one run, and the name of the run on a page of several."""
    color: int
    steps: list[float]
    values: list[float | None]
    low: list[float | None] = field(default_factory=list)
    high: list[float | None] = field(default_factory=list)
    """Ends of the interval of each value; empty where there is none."""


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    series: list[Series]
    caption: str
    band: tuple[str, str] | None = None
    """Labels of two series; what lies between them is shaded."""
    dotted: str | None = None
    """Label of a series."""
    share: bool = False
    """From 0 to 1."""


@dataclass(frozen=True)
class _Kind:
    """A panel before it has values."""

    title: str
    unit: str
    metrics: Mapping[str, str | Value]
    """Label -> name of a metric, or what computes it from a row."""
    caption: str
    band: tuple[str, str] | None = None
    dotted: str | None = None
    share: bool = False
    drop_zero: bool = False
    """Leave out metrics that are 0 in every step of every run."""


def _tokens(row: Row) -> float | None:
    mean, number = row.get("deltal/response_length_mean"), row.get("rollout/num_samples")
    return mean * number if mean is not None and number is not None else None


def _per_second(of: str) -> Value:
    def value(row: Row) -> float | None:
        tokens, seconds = _tokens(row), row.get(of)
        return tokens / seconds if tokens is not None and seconds else None

    return value


LENGTH = "deltal/response_length_"
SECTIONS: dict[str, tuple[_Kind, ...]] = {
    "Does it learn?": (
        _Kind("Reward", "mean reward", {"reward": "rollout/reward_mean"}, "Mean over the responses of a step."),
        _Kind(
            "No signal",
            "share of the prompts",
            {"no signal": "deltal/groups_without_signal"},
            "Prompts whose responses all got the same reward. They teach nothing.",
            share=True,
        ),
    ),
    "What are the responses like?": (
        _Kind(
            "Response length",
            "tokens",
            {"max": LENGTH + "max", "95 %": LENGTH + "p95", "mean": LENGTH + "mean", "median": LENGTH + "p50"},
            "Sampled tokens.",
            band=("median", "95 %"),
            dotted="max",
        ),
        _Kind(
            "Cut off",
            "share of the responses",
            {"cut off": "rollout/truncated_rate", "filtered": "deltal/filtered_share"},
            "Cut off: ended by the length limit. Filtered: not trained on for that.",
            share=True,
            drop_zero=True,
        ),
        _Kind(
            "Grades",
            "share of the responses",
            {
                "equal": "grade/equal",
                "different": "grade/different",
                "unparsable": "grade/unparsable",
                "too long": "grade/too_long",
                "timeout": "grade/timeout",
                "worker died": "grade/worker_died",
            },
            "What the grader said of the answers.",
            share=True,
            drop_zero=True,
        ),
    ),
    "The update": (
        _Kind(
            "Effective sample size",
            "responses",
            {"ESS": "deltal/ess"},
            "(Σ x)² / Σ x² of an optimizer step: how many equally weighted responses the weights amount to.",
        ),
        _Kind(
            "Sum of the weights × M",
            "Σ x · M",
            {"mean": "deltal/weight_sum_x_M"},
            "1 for ∆L with scope step and for Dr. GRPO norm. Methods differ in scale by design.",
        ),
        _Kind(
            "Gradient norm",
            "before clipping",
            {"norm": "deltal/grad_norm"},
            "Mean over the optimizer steps of a PPO step, before clipping.",
        ),
        _Kind(
            "Clipping",
            "share",
            {"gradient": "deltal/clip_share", "ratio": "ppo_clip_ratio"},
            "Gradient: optimizer steps whose gradient was clipped. Ratio: tokens whose ratio the PPO clip bounds.",
            share=True,
        ),
        _Kind(
            "KL divergence",
            "nats a token",
            {"to the last policy": "ppo_kl", "to the reference": "kl", "to the sampler": "vllm_kl"},
            "Estimates from the sampled tokens.",
            drop_zero=True,
        ),
        _Kind("Entropy", "nats a token", {"entropy": "entropy_loss"}, "Of the policy, over the sampled tokens."),
    ),
    "Speed": (
        _Kind(
            "Throughput",
            "tokens a second",
            {"whole step": _per_second("timing/step_total"), "sampling": _per_second("timing/generation")},
            "Sampled tokens, by the time of the whole step and by that of sampling alone.",
            drop_zero=True,
        ),
        _Kind(
            "Seconds a step",
            "seconds",
            {
                "total": "timing/step_total",
                "sampling": "timing/generation",
                "training": "timing/ppo_train",
                "log-probabilities": "timing/make_experience",
                "weights to vLLM": "timing/broadcast",
            },
            "By phase.",
        ),
    ),
}
EVAL_PREFIX, EVAL_SUFFIX = "eval_", "_pass1"


def sections(runs: Sequence[TrainingRun]) -> Iterator[tuple[str, list[Panel]]]:
    """Headings and their panels. A panel of one run has a series for each metric, one of several runs a series for each run."""
    for i, (heading, kinds) in enumerate(SECTIONS.items()):
        panels = [panel for kind in kinds for panel in _panels(runs, kind)]
        yield heading, [*panels[:1], *_evals(runs), *panels[1:]] if i == 0 else panels


def eval_sets(runs: Sequence[TrainingRun]) -> list[str]:
    """Names of the evaluation sets, in the order of the runs."""
    keys = dict.fromkeys(key for run in runs for row in run.evals for key in row)
    return [
        key.removeprefix(EVAL_PREFIX).removesuffix(EVAL_SUFFIX)
        for key in keys
        if key.startswith(EVAL_PREFIX) and key.endswith(EVAL_SUFFIX)
    ]


def _panels(runs: Sequence[TrainingRun], kind: _Kind) -> list[Panel]:
    found: dict[str, list[Series]] = {}
    for label, metric in kind.metrics.items():
        of_runs = [[row.get(metric) if isinstance(metric, str) else metric(row) for row in run.metrics] for run in runs]
        if kind.drop_zero and not any(value for values in of_runs for value in values):
            continue
        for i, (run, values) in enumerate(zip(runs, of_runs, strict=True)):
            if any(value is not None for value in values):
                name, color = (label, len(found)) if len(runs) == 1 else (run.label, i)
                found.setdefault(label, []).append(Series(name, color, [row["step"] for row in run.metrics], values))
    if len(runs) == 1:
        series = [one for of_metric in found.values() for one in of_metric]
        band = kind.band if kind.band and found.keys() >= set(kind.band) else None
        caption = f"{kind.caption} Shaded: from {band[0]} to {band[1]}." if band else kind.caption
        return [Panel(kind.title, kind.unit, series, caption, band, kind.dotted, kind.share)] if series else []
    many = len(kind.metrics) > 1
    return [
        Panel(f"{kind.title}: {label}" if many else kind.title, kind.unit, series, kind.caption, share=kind.share)
        for label, series in found.items()
    ]


def _evals(runs: Sequence[TrainingRun]) -> list[Panel]:
    panels = []
    for name in eval_sets(runs):
        key = f"{EVAL_PREFIX}{name}{EVAL_SUFFIX}"
        series = []
        for i, run in enumerate(runs):
            rows = [row for row in run.evals if row.get(key) is not None]
            if rows:
                values, low, high = ([row.get(name) for row in rows] for name in (key, f"{key}_low", f"{key}_high"))
                name_of = run.label if len(runs) > 1 else "mean reward"
                series.append(Series(name_of, i, [row["step"] for row in rows], values, low, high))
        caption = "Mean reward on the evaluation set. Bars: 95 % intervals over its problems."
        panels.append(Panel(f"Evaluation: {name}", "mean reward", series, caption))
    return panels
