"""What the quick start shows at the end: a plot, a table and summary.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deltal_openrlhf.reports.figures import drawing, png
from deltal_openrlhf.runs.files import write_all_atomically
from deltal_openrlhf.statistics.estimate import Estimate
from deltal_openrlhf.training_report.panels import EVAL_PREFIX, EVAL_SUFFIX


def plot(metrics: list[dict], before: Estimate, after: Estimate, limit: int, title: str, path: Path) -> None:
    """Accuracy, response lengths, gradient norm and effective sample size over the PPO steps, as a PNG.

    metrics: rows of metrics.jsonl. before, after: held-out accuracy. limit: tokens of the longest possible response.
    """
    steps = [row["step"] for row in metrics]

    def line(ax: Axes, key: str, **style: Any) -> None:
        ax.plot(steps, [row.get(key, float("nan")) for row in metrics], **style)

    with drawing():
        figure = Figure(figsize=(11, 7), layout="constrained")
        figure.suptitle(title)
        (reward, lengths), (norm, ess) = figure.subplots(2, 2, sharex=True)
        line(reward, "rollout/reward_mean", color="tab:blue", label="training batches (mean reward)")
        for step, held_out, name in ((steps[0] - 1, before, "held-out, 95 % interval"), (steps[-1], after, None)):
            value, low, high = np.array([held_out.value, held_out.low, held_out.high], dtype=float)
            ends = [[value - low], [high - value]]
            reward.errorbar(step, value, yerr=ends, fmt="o", color="tab:red", capsize=4, label=name)
        reward.set(ylabel="accuracy", ylim=(0, None))
        for key, style in (("max", ":"), ("p95", "--"), ("mean", "-"), ("p50", "-.")):
            line(lengths, f"deltal/response_length_{key}", linestyle=style, label=key)
        lengths.axhline(limit, color="0.5", linewidth=1, label="limit")
        lengths.set(ylabel="response length (tokens)", ylim=(0, None))
        line(norm, "deltal/grad_norm", color="tab:green")
        norm.set(xlabel="PPO step", ylabel="gradient norm", ylim=(0, None))
        line(ess, "deltal/ess", color="tab:purple")
        ess.set(xlabel="PPO step", ylabel="effective sample size\n(responses per optimizer step)", ylim=(0, None))
        for ax in (reward, lengths):
            ax.legend(frameon=True)
        ess.xaxis.set_major_locator(MaxNLocator(integer=True))
        write_all_atomically({path: png(figure)})


def summary_of(accuracies: Mapping[str, Estimate]) -> dict[str, Any]:
    """accuracy_NAME and accuracy_NAME_interval, as in summary.json. accuracies: "before", "after" and their "difference"."""
    summary: dict[str, Any] = {}
    for name, estimate in accuracies.items():
        summary[f"accuracy_{name}"] = estimate.value
        summary[f"accuracy_{name}_interval"] = [estimate.low, estimate.high]
    return summary


def evaluations(accuracies: Mapping[str, Estimate], steps: int) -> list[dict[str, Any]]:
    """Rows as in evals.jsonl, of the two evaluations. steps: PPO steps between them."""
    key = f"{EVAL_PREFIX}held-out{EVAL_SUFFIX}"
    return [
        {"step": step, key: estimate.value, f"{key}_low": estimate.low, f"{key}_high": estimate.high}
        for step, estimate in ((0, accuracies["before"]), (steps, accuracies["after"]))
    ]


def table(accuracies: Mapping[str, Estimate], before_length: float, after_length: float) -> str:
    """The result for a person."""

    def row(name: str, of: Estimate, length: str = "", sign: str = "") -> str:
        return f"{name:<24}{of.value:>{sign}9.3f}   [{of.low:{sign}.3f}, {of.high:{sign}.3f}]   {length:>11}"

    return "\n".join(
        [
            f"{'held-out accuracy':<24}{'mean':>9}   {'95 % interval':<16}   {'mean length':>11}",
            row("before", accuracies["before"], f"{before_length:.0f}"),
            row("after", accuracies["after"], f"{after_length:.0f}"),
            row("difference, paired", accuracies["difference"], sign="+"),
        ]
    )
