"""How every plot looks. Figures are narrow and their letters large, so that they can be read at 360 px too.

Figures are made by matplotlib's object interface: neither pyplot nor the backend of an importing program is touched. The same data
give the same bytes.
"""

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from deltal_openrlhf.reports.numbers import EstimateJson
from deltal_openrlhf.reports.palette import Look

WIDTH = 4.4
"""Inches. At 330 px, what a window of 360 px leaves, a letter of 10.5 points is 11 px high."""

REFERENCE: dict[str, Any] = {"color": "#666666", "linewidth": 1.2, "linestyle": (0, (4, 3)), "zorder": 1}

STYLE = {
    "font.size": 10.5,
    "axes.titlesize": 10.5,
    "figure.titlesize": 10.5,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a "$" in a name is a "$"
}


class Plot(NamedTuple):
    name: str
    """File name without .png."""
    png: bytes
    alt: str
    """What the picture shows, for those who do not see it."""
    caption: str


class NoPlot(NamedTuple):
    reason: str
    """One sentence."""


def no_plot(title: str) -> NoPlot:
    """In place of a plot whose values are all null. title: may have several lines."""
    return NoPlot(f"Left out, for want of values: {' '.join(title.split())}.")


def drawing() -> AbstractContextManager:
    """Inside, figures look the same whatever the user's matplotlib settings are. Afterwards these are as before."""
    return matplotlib.style.context(["default", STYLE])


def new_figure(title: str, height: float, panels: int = 1, **subplots: Any) -> tuple[Figure, list[Axes]]:
    """A figure with `panels` axes below each other. height: inches. title: with n and what the bars are; lines of <= 52 letters."""
    figure = Figure(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06))
    figure.suptitle(title, x=0.02, ha="left")
    return figure, list(figure.subplots(panels, 1, squeeze=False, **subplots)[:, 0])


def legend(figure: Figure, axes: Axes, columns: int) -> None:
    """Put the legend below the axes, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside lower left", ncols=columns, columnspacing=1.2, handletextpad=0.4)


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # No "Software" entry: it would change with every version of matplotlib.
    figure.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
    return buffer.getvalue()


def shortened(name: str, letters: int = 24) -> str:
    """A name cut to leave room for the plot; the tables have it in full."""
    return name if len(name) <= letters else name[: letters - 1] + "…"


# ── Axes ──


def log_axis(axis: Any) -> None:
    """Write ticks as 1, 10, 1,000 or 10⁻⁵, with some between the powers of ten where the range is small."""
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    subs = (1, 1.5, 2, 3, 5, 7) if decades < 0.8 else (1, 2, 5) if decades < 2 else (1, 3) if decades < 3 else (1,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=7 if subs == (1,) else 12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _power(value)))
    axis.set_minor_locator(NullLocator())


def _power(value: float) -> str:
    exponent = math.floor(math.log10(value) + 1e-9)
    factor = round(value / 10.0**exponent, 1)
    if -3 <= exponent <= 4:
        return f"{value:,.{max(0, -exponent) + (factor % 1 > 0 and exponent <= 0)}f}"
    power = "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return power if factor == 1 else f"{factor:g}·{power}"


def limits(values: Iterable[float | None], ends: Iterable[float | None], log: bool) -> tuple[float, float]:
    """The limits of an axis that shows every value, and the intervals within eight times the values' range.

    An interval far wider than everything else would leave no room to see the rest; `bar` marks it with an arrow.
    """
    to = math.log10 if log else float
    shown = [to(v) for v in values if v is not None and (v > 0 or not log)]
    # On a log axis an end at or below 0 lies infinitely far out.
    reached = [to(v) for v in ends if v is not None and (v > 0 or not log)]
    if not shown:
        shown = reached or [0.0]
    low, high = min(shown), max(shown)
    room = 8 * ((high - low) or (0.3 if log else 0.1 * abs(high)) or 1.0)
    low, high = max(low - room, min([low, *reached])), min(high + room, max([high, *reached]))
    margin = 0.05 * ((high - low) or abs(high) or 1.0)
    return (10 ** (low - margin), 10 ** (high + margin)) if log else (low - margin, high + margin)


# ── Intervals ──


class Series(NamedTuple):
    """Values with intervals, one for each place."""

    label: str | None
    estimates: Sequence[EstimateJson | None]
    look: Look | Sequence[Look]


def bar(axes: Axes, place: float, estimate: EstimateJson, look: Look, horizontal: bool) -> None:
    """One value and its interval, inside of the limits that the axis has. Hollow: not resolved. Arrow: the interval continues."""
    low_limit, high_limit = axes.get_xlim() if horizontal else axes.get_ylim()
    value, low, high = (estimate[key] for key in ("value", "low", "high"))

    def at(v: float) -> tuple[float, float]:
        return (v, place) if horizontal else (place, v)

    style: dict[str, Any] = {"color": look.color, "zorder": 3, "clip_on": False, "linestyle": "none"}
    if low is not None or high is not None:
        ends = (low_limit if low is None else low, high_limit if high is None else high)
        cut = [min(max(end, low_limit), high_limit) for end in ends]
        axes.plot(*zip(at(cut[0]), at(cut[1]), strict=True), color=look.color, linewidth=1.8, zorder=2)
        for known, end, inside, arrow in zip((low, high), ends, cut, "<>" if horizontal else "v^", strict=True):
            if known is None or end != inside:
                axes.plot(*at(inside), marker=arrow, markersize=5, **style)
    if value is not None and low_limit <= value <= high_limit:
        face = look.color if estimate["resolved"] else "white"
        axes.plot(*at(value), marker=look.marker, markersize=5.5, markerfacecolor=face, **style)


def rows(
    axes: Axes,
    labels: Sequence[str],
    series: Sequence[Series],
    reference: float | None,
    log: bool = False,
    include: Sequence[float | None] = (),
) -> None:
    """A forest plot: one row for each label, from the top, each series a little lower than the one before.

    reference: dotted line. include: values that the axis shows too.
    """
    axes.set_xscale("log" if log else "linear")
    axes.set_xlim(_limits_of(series, [reference, *include], log))
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_yticks(range(len(labels)), labels)
    axes.grid(axis="y", visible=False)
    for i, one in enumerate(series):
        shift = 0.36 * (i - (len(series) - 1) / 2) if len(series) > 1 else 0.0
        for row, estimate in enumerate(one.estimates):
            if estimate is not None:
                bar(axes, row + shift, estimate, _look_at(one, row), horizontal=True)
        _in_legend(axes, one)
    if reference is not None:
        axes.axvline(reference, **REFERENCE)
    if log:
        log_axis(axes.xaxis)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def values_at(axes: Axes, series: Sequence[tuple[Sequence[float], Series]], reference: float | None) -> None:
    """Values with intervals against x, each series joined by a thin line. series: (x of every value, series)."""
    axes.set_ylim(_limits_of([one for _, one in series], [reference], log=False))
    for xs, one in series:
        drawn = [(x, e) for x, e in zip(xs, one.estimates, strict=True) if e is not None]
        look = _look_at(one, 0)
        for x, estimate in drawn:
            bar(axes, x, estimate, look, horizontal=False)
        line = [(x, e["value"]) for x, e in drawn if e["value"] is not None]
        if line:
            axes.plot(*zip(*line, strict=True), color=look.color, linewidth=1.6, alpha=0.7)
        _in_legend(axes, one)
    if reference is not None:
        axes.axhline(reference, **REFERENCE)


def curves(axes: Axes, of: Mapping[str, Mapping[str, Any]], look: Mapping[str, Look]) -> None:
    """Means over runs against the step, with their bands. of: label -> {"step", "mean", "low", "high", "n"}."""
    for label, curve in of.items():
        steps, color = curve["step"], look[label].color
        nothing = [None] * len(steps)
        mean, low, high = (
            np.array(curve[key] or nothing, dtype=float) for key in ("mean", "low", "high")
        )  # None is nan
        axes.fill_between(steps, low, high, color=color, alpha=0.09, linewidth=0)
        axes.plot(steps, mean, color=color, linewidth=1.8)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _limits_of(series: Iterable[Series], others: Iterable[float | None], log: bool) -> tuple[float, float]:
    of = [e for one in series for e in one.estimates if e is not None]
    return limits([*(e["value"] for e in of), *others], [e[key] for e in of for key in ("low", "high")], log)


def _in_legend(axes: Axes, series: Series) -> None:
    """The mark in the legend is filled, whether values are resolved or not."""
    if series.label:
        look = _look_at(series, 0)
        axes.plot([], [], marker=look.marker, color=look.color, markersize=5.5, linewidth=1.6, label=series.label)


def _look_at(series: Series, place: int) -> Look:
    return series.look if isinstance(series.look, Look) else series.look[place]


def draw(makers: Iterable[Callable[[], Plot | NoPlot]]) -> list[Plot | NoPlot]:
    with drawing():
        return [make() for make in makers]
