"""What the quick start shows at the end: a plot, a table and summary.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402  (the backend without a display has to be chosen first)
from matplotlib.axes import Axes  # noqa: E402

from deltal_openrlhf.statistics.estimate import Estimate


def plot(metrics: list[dict], before: Estimate, after: Estimate, title: str, path: Path) -> None:
    """Accuracy, response lengths, gradient norm and effective sample size over the PPO steps, as a PNG.

    metrics: rows of metrics.jsonl. before, after: held-out accuracy.
    """
    steps = [row["step"] for row in metrics]
    figure, axes = plt.subplots(2, 2, figsize=(11, 7), sharex=True, layout="constrained")
    figure.suptitle(title)

    def line(ax: Axes, key: str, **style: Any) -> None:
        ax.plot(steps, [row.get(key, float("nan")) for row in metrics], **style)

    reward, lengths, norm, ess = axes.flat
    line(reward, "rollout/reward_mean", color="tab:blue", label="training batches (mean reward)")
    for step, held_out, name in ((steps[0] - 1, before, "held-out, 95 % interval"), (steps[-1], after, None)):
        value, low, high = np.array([held_out.value, held_out.low, held_out.high], dtype=float)
        reward.errorbar(
            step, value, yerr=[[value - low], [high - value]], fmt="o", color="tab:red", capsize=4, label=name
        )
    reward.set(ylabel="accuracy", ylim=(0, None))
    for key, style in (("max", ":"), ("p95", "--"), ("mean", "-"), ("p50", "-.")):
        line(lengths, f"deltal/response_length_{key}", linestyle=style, label=key)
    lengths.set(ylabel="response length (tokens)", ylim=(0, None))
    line(norm, "deltal/grad_norm", color="tab:green")
    norm.set(ylabel="gradient norm", ylim=(0, None))
    line(ess, "deltal/ess", color="tab:purple")
    ess.set(ylabel="effective sample size\n(responses per optimizer step)", ylim=(0, None))
    for ax in (reward, lengths):
        ax.legend(fontsize="small")
    for ax in axes.flat:
        ax.grid(alpha=0.3)
    for ax in axes[1]:
        ax.set_xlabel("PPO step")
    beside = path.with_name(path.name + ".tmp")
    figure.savefig(beside, format="png", dpi=120)
    plt.close(figure)
    beside.replace(path)


def summary_of(accuracies: Mapping[str, Estimate]) -> dict[str, Any]:
    """accuracy_NAME and accuracy_NAME_interval, as in summary.json. accuracies: "before", "after" and their "difference"."""
    summary: dict[str, Any] = {}
    for name, estimate in accuracies.items():
        summary[f"accuracy_{name}"] = estimate.value
        summary[f"accuracy_{name}_interval"] = [estimate.low, estimate.high]
    return summary


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
