"""Plots of `deltal diagnose` about lengths: how many responses have which, and their mean rewards."""

from collections.abc import Mapping
from typing import Any

from matplotlib.ticker import MaxNLocator

from deltal_openrlhf.diagnostics.resolved import finished, left_out, shown
from deltal_openrlhf.reports import figures, palette
from deltal_openrlhf.reports.figures import NoPlot, Plot, limits

LENGTH = "response length L (tokens)"


def histogram(findings: Mapping[str, Any]) -> Plot:
    """Bars of whole tokens, with those that were cut off on top of those that ended by themselves."""
    found, sample = findings["lengths"], findings["sample"]
    edges, finished, cut = found["edges"], found["finished"], found["truncated"]
    figure, (axes,) = figures.new_figure(f"Lengths of the responses\nn = {sample['responses']:,} responses", 2.9)
    widths = [right - left for left, right in zip(edges, edges[1:], strict=False)]
    bars: dict[str, Any] = {"align": "edge", "edgecolor": "white", "linewidth": 0.5}
    lefts = [edge - 0.5 for edge in edges[:-1]]  # a whole number of tokens is in the middle of its bar
    if any(finished):
        axes.bar(lefts, finished, widths, color=palette.SKY.color, label="ended", **bars)
    if any(cut):
        axes.bar(lefts, cut, widths, finished, color=palette.VERMILION.color, hatch="///", label="cut off", **bars)
    median = sample["lengths"]["p50"]
    axes.axvline(median, **{**figures.REFERENCE, "color": "black", "zorder": 3}, label="median")
    axes.grid(axis="x", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel(LENGTH)
    axes.set_ylabel("responses")
    figures.legend(figure, axes, 3)
    caption = (
        f"A bar holds lengths of {_tokens(widths[0])}. 5 %, 50 % and 95 % of the responses have up to {sample['lengths']['p5']:,.0f}, "
        f"{median:,.0f} and {sample['lengths']['p95']:,.0f} tokens. Dashed: the median."
    )
    alt = "Histogram of the lengths of the responses, split by whether a response ended or was cut off."
    return Plot("lengths", figures.png(figure), alt, caption)


def _tokens(width: int) -> str:
    return "one token" if width == 1 else f"{width:,} tokens"


def rewards(findings: Mapping[str, Any]) -> Plot | NoPlot:
    """The mean reward in bins of lengths."""
    title, bins = "Mean reward against length", findings["rewards_by_length"]
    estimates = [one["reward"] for one in bins]
    if (nothing := left_out(title, estimates)) is not None:
        return nothing
    sample = findings["sample"]
    figure, (axes,) = figures.new_figure(f"{title}\nn = {sample['responses']:,} responses; bars: 95 %", 2.9)
    drawn = [one for one in bins if shown(one["reward"])]
    axes.set_xscale("log")
    axes.set_xlim(limits([one[end] for one in drawn for end in ("from", "to")], [], log=True))
    ends = [one["reward"][end] for one in drawn for end in ("low", "high")]
    axes.set_ylim(limits([one["reward"]["value"] for one in drawn], ends, log=False))
    for one in drawn:
        figures.bar(axes, one["length"], one["reward"], palette.GREEN, horizontal=False)
        level = [one["reward"]["value"]] * 2
        axes.plot([one["from"], one["to"]], level, color=palette.GREEN.color, linewidth=1.2, alpha=0.5)
    figures.log_axis(axes.xaxis)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(LENGTH)
    axes.set_ylabel("mean reward")
    caption = (
        "Bins of lengths with about equally many responses: horizontal bars are a bin's range, vertical bars 95 % intervals over prompts. "
        "A bin without a vertical bar has the same mean whichever prompt is left out."
    )
    alt = "Mean reward against the length of the response, which is on a logarithmic axis, with intervals."
    return finished(figure, "reward_by_length", alt, caption, estimates)
