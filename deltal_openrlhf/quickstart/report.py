"""What the quick start shows at the end: a plot, a table and summary.json."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402  (the backend without a display has to be chosen first)
from matplotlib.axes import Axes  # noqa: E402

from deltal_openrlhf.statistics.paired import accuracy, difference


def plot(metrics: list[dict], before: dict, after: dict, title: str, path: Path) -> None:
    """Accuracy, response lengths, gradient norm and effective sample size over the PPO steps, as a PNG.

    metrics: rows of metrics.jsonl. before, after: held-out accuracy as {"mean", "low", "high"}.
    """
    steps = [row["step"] for row in metrics]
    figure, axes = plt.subplots(2, 2, figsize=(11, 7), sharex=True, layout="constrained")
    figure.suptitle(title)

    def line(ax: Axes, key: str, **style) -> None:
        ax.plot(steps, [row.get(key, float("nan")) for row in metrics], **style)

    reward, lengths, norm, ess = axes.flat
    line(reward, "rollout/reward_mean", color="tab:blue", label="training batches (mean reward)")
    for step, held_out, name in ((steps[0] - 1, before, "held-out, 95 % interval"), (steps[-1], after, None)):
        error = [[held_out["mean"] - held_out["low"]], [held_out["high"] - held_out["mean"]]]
        reward.errorbar(step, held_out["mean"], yerr=error, fmt="o", color="tab:red", capsize=4, label=name)
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


def accuracies(before: list[list[int]], after: list[list[int]], groups: list) -> dict:
    """Accuracy before, after and the paired difference, each with its 95 % interval. before, after: correct samples a problem."""
    values = {
        "before": accuracy(before, groups),
        "after": accuracy(after, groups),
        "difference": difference(before, after, groups),
    }
    summary = {}
    for name, value in values.items():
        summary[f"accuracy_{name}"] = value["mean"]
        summary[f"accuracy_{name}_interval"] = [value["low"], value["high"]]
    return summary


def table(summary: dict, before_length: float, after_length: float) -> str:
    """The result for a person."""

    def row(name: str, value: float, interval: list[float], length: str = "", sign: str = "") -> str:
        low, high = interval
        return f"{name:<24}{value:>{sign}9.3f}   [{low:{sign}.3f}, {high:{sign}.3f}]   {length:>11}"

    return "\n".join(
        [
            f"{'held-out accuracy':<24}{'mean':>9}   {'95 % interval':<16}   {'mean length':>11}",
            row("before", summary["accuracy_before"], summary["accuracy_before_interval"], f"{before_length:.0f}"),
            row("after", summary["accuracy_after"], summary["accuracy_after_interval"], f"{after_length:.0f}"),
            row(
                "difference, paired", summary["accuracy_difference"], summary["accuracy_difference_interval"], sign="+"
            ),
        ]
    )
