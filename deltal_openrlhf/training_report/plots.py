"""Draws a panel: curves against the step, each with its name at its end."""

import math
from collections.abc import Sequence
from dataclasses import replace

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from deltal_openrlhf.reports.end_names import End, name_ends
from deltal_openrlhf.reports.figures import WIDTH, shortened
from deltal_openrlhf.reports.numbers import number
from deltal_openrlhf.reports.palette import RUNS
from deltal_openrlhf.reports.vector import INK, SOFT, picture, svg
from deltal_openrlhf.training_report.panels import Panel, Series

HEIGHT = 2.5
LEFT, BOTTOM, TOP, RIGHT, NAMED_RIGHT = 0.125, 0.155, 0.8, 0.97, 0.72
"""The axes' place in the figure, as shares of it; the last one where names of curves stand to the right. All plots line up."""
FEW = 15
"""Up to as many points are marked."""
MOST_POINTS = 200
"""A curve of more points is drawn by means over equal stretches."""
COLORS = tuple(RUNS)


def draw(panel: Panel) -> Markup:
    """The panel as a figure of the page."""
    series = [thinned(one) for one in panel.series]
    named = len(series) > 1
    figure = Figure(figsize=(WIDTH, HEIGHT))
    axes = figure.add_axes((LEFT, BOTTOM, (NAMED_RIGHT if named else RIGHT) - LEFT, TOP - BOTTOM))
    figure.text(0.01, 0.985, panel.title, va="top", fontweight="bold")
    figure.text(0.01, 0.895, panel.unit, va="top", color=SOFT, fontsize=9)
    axes.set_xlabel("PPO step", fontsize=9, loc="right", labelpad=2)
    axes.tick_params(labelsize=9, length=2)
    _curves(axes, panel, series)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    _limits(axes, panel, series)
    if named:
        _names(axes, panel, series)
    return picture(svg(figure), alt_text(panel), f"{panel.caption}{_said_of_points(panel)}")


def alt_text(panel: Panel) -> str:
    """What the curves show: their first and last values."""
    told = []
    for one in panel.series:
        known = [value for value in one.values if value is not None]
        told.append(f"{one.label} from {number(known[0])} to {number(known[-1])}")
    return f"{panel.title} ({panel.unit}) against the PPO step: {'; '.join(told)}."


def _stretch(series: Series) -> int:
    """How many steps a point stands for. Values with an interval are all drawn."""
    return 1 if series.low else math.ceil(len(series.steps) / MOST_POINTS)


def _said_of_points(panel: Panel) -> str:
    """What the caption says of curves whose points are means."""
    means = {one.label: _stretch(one) for one in panel.series if _stretch(one) > 1}
    if len(means) == len(panel.series) and len(set(means.values())) == 1:
        return f" Each point is the mean of {next(iter(means.values()))} steps."
    return "".join(f" {label}: each point is the mean of {stretch} steps." for label, stretch in means.items())


def thinned(series: Series) -> Series:
    """Means over stretches of steps, each in the middle of its stretch."""
    stretch = _stretch(series)
    if stretch == 1:
        return series
    parts = [slice(start, start + stretch) for start in range(0, len(series.steps), stretch)]
    known = [[value for value in series.values[part] if value is not None] for part in parts]
    return replace(
        series,
        steps=[(series.steps[part][0] + series.steps[part][-1]) / 2 for part in parts],
        values=[sum(values) / len(values) if values else None for values in known],
    )


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _curves(axes: Axes, panel: Panel, series: Sequence[Series]) -> None:
    if panel.band:
        low, high = (next(one for one in series if one.label == label) for label in panel.band)
        axes.fill_between(low.steps, _gaps(low.values), _gaps(high.values), color=COLORS[0], alpha=0.16, linewidth=0)
    for one in series:
        color = _color(panel, one)
        thin = panel.band is not None and one.label in panel.band
        style = ":" if one.label == panel.dotted else "-"
        marker = "o" if len(one.steps) <= FEW else None
        axes.plot(
            one.steps,
            _gaps(one.values),
            color=color,
            linestyle=style,
            linewidth=0.9 if thin else 1.8,
            marker=marker,
            markersize=3.5,
        )
        for step, low_end, high_end in zip(one.steps, one.low, one.high, strict=False):
            if low_end is not None and high_end is not None:
                axes.plot([step, step], [low_end, high_end], color=color, linewidth=1.2, alpha=0.7)


def _limits(axes: Axes, panel: Panel, series: Sequence[Series]) -> None:
    """Shares lie between 0 and 1. Other axes begin at 0 unless that would flatten the curves."""
    low, high = axes.get_ylim()
    values = [value for one in series for value in one.values if value is not None]
    if panel.share:
        axes.set_ylim(-0.02 * min(1.0, high), min(1.02, high))
    elif 0 < max(values) <= min(values) * (1 + 1e-6):
        axes.set_ylim(0, 1.25 * max(values))
    elif 0 < low < 0.6 * high:
        axes.set_ylim(0, high)


def _names(axes: Axes, panel: Panel, series: Sequence[Series]) -> None:
    ends = []
    for one in series:
        x, y = next((x, y) for x, y in zip(reversed(one.steps), reversed(one.values), strict=True) if y is not None)
        ends.append(End(shortened(one.label, 18), x, y, _color(panel, one)))
    name_ends(axes, ends, height=HEIGHT * (TOP - BOTTOM), ink=INK)


def _color(panel: Panel, series: Series) -> str:
    return COLORS[0 if panel.band else series.color]
