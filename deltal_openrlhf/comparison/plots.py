"""The plots of `deltal compare`, for each arm, from comparison.json."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from deltal_openrlhf.reports import figures, palette
from deltal_openrlhf.reports.end_names import End, name_ends
from deltal_openrlhf.reports.figures import NoPlot, Plot, Series, limits, shortened
from deltal_openrlhf.reports.numbers import count, is_missing, rate
from deltal_openrlhf.reports.palette import Look

Arm = Mapping[str, Any]

METRICS = {
    "final": "final accuracy",
    "auc": "mean accuracy over all steps",
    "largest_drop": "largest drop of accuracy",
    "monotonicity": "monotonicity of accuracy",
}
"""Metrics of paired differences in words. Others go by their own name."""

HEADLINES = ("final", "auc")
"""The metrics whose differences are drawn and spelled out: more is better."""


class CurvePlot(NamedTuple):
    key: str
    title: str
    label: str
    log: bool = False


CURVES = (
    CurvePlot("accuracy", "Accuracy on the training prompts", "mean reward"),
    CurvePlot("held_out", "Held-out accuracy", "accuracy, held-out prompts"),
    CurvePlot("length", "Response length", "mean length (tokens)"),
    CurvePlot("entropy", "Entropy of the policy", "mean entropy (nats a token)"),
    # Methods differ in scale by design, up to the factor mean(L) / M.
    CurvePlot("grad_norm", "Gradient norm, before clipping", "gradient norm", log=True),
)


def plots(comparison: Mapping[str, Any]) -> list[list[Plot | NoPlot]]:
    """The plots of each arm in the order of the page. A sentence replaces a plot whose values are all missing."""
    arms = comparison["arms"]
    looks = palette.looks(method["name"] for arm in arms for method in arm["methods"])
    return [figures.draw(_of_arm(arm, f"{i}_{_slug(arm['name'])}", looks)) for i, arm in enumerate(arms, start=1)]


def _of_arm(arm: Arm, prefix: str, looks: Mapping[str, Look]) -> list[Callable[[], Plot | NoPlot]]:
    found: list[Callable[[], Plot | NoPlot]] = [partial(_curves, arm, plot, prefix, looks) for plot in CURVES]
    found += [partial(_differences, arm, metric, prefix) for metric in HEADLINES]
    if arm["learning_rates"]:
        found.append(partial(_learning_rates, arm, prefix, looks))
    return found


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "arm"


def _curves(arm: Arm, plot: CurvePlot, prefix: str, looks: Mapping[str, Look]) -> Plot | NoPlot:
    of = {m["name"]: m["curves"][plot.key] for m in arm["methods"] if _has_values(m["curves"].get(plot.key))}
    if not of:
        return figures.no_plot(plot.title.lower())
    if all(len(curve["step"]) == 1 for curve in of.values()):
        return NoPlot(f"Left out, for there is one step: {plot.title.lower()}. Its values are in the table.")
    banded = {name for name, curve in of.items() if any(v is not None for v in curve["low"] or [])}
    ns = sorted({curve["n"] for curve in of.values()})
    bands = "bands: 95 %" if banded else "no interval"
    title = f"{plot.title}\n{shortened(arm['name'], 24)} · {_span(ns, 'run')} each; {bands}"
    height = max(3.2, 1.2 + 0.18 * len(of))  # room for a name in each line
    figure, (axes,) = figures.new_figure(title, height)
    axes.set_yscale("log" if plot.log else "linear", **({"nonpositive": "clip"} if plot.log else {}))
    means = [v for curve in of.values() for v in curve["mean"]]
    ends = [v for curve in of.values() for key in ("low", "high") for v in curve[key] or []]
    axes.set_ylim(limits(means, ends, plot.log))
    figures.curves(axes, of, looks)
    axes.set_xlabel("PPO step")
    axes.set_ylabel(plot.label)
    if plot.log:
        figures.log_axis(axes.yaxis)
    _name_curves(axes, of, looks, height, with_number=len(ns) > 1)
    caption = f"Lines: mean over runs. Bands: 95 % t interval over runs, at each step. n: {_runs(of)}."
    if len(banded) < len(of):
        caption += " Without a band: one run only, so no interval."
    if plot.key == "grad_norm":
        caption += " Methods differ in scale by design."
    alt = f"{plot.title} against the PPO step, by method, arm {arm['name']}."
    return Plot(f"{prefix}_{plot.key}", figures.png(figure), alt, caption)


def _name_curves(
    axes: Axes, of: Mapping[str, Mapping[str, Any]], looks: Mapping[str, Look], height: float, *, with_number: bool
) -> None:
    ends = []
    for name, curve in of.items():
        step, mean = next(
            (s, m) for s, m in zip(reversed(curve["step"]), reversed(curve["mean"]), strict=True) if m is not None
        )
        said = f"{shortened(name, 16)} (n = {curve['n']})" if with_number else shortened(name, 18)
        ends.append(End(said, step, mean, looks[name].color))
    name_ends(axes, ends, height=0.7 * height)


def _has_values(curve: Mapping[str, Any] | None) -> bool:
    return curve is not None and any(v is not None for v in curve["mean"])


def _runs(of: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(f"{name} {count(curve['n'], 'run')}" for name, curve in of.items())


def _differences(arm: Arm, metric: str, prefix: str) -> Plot | NoPlot:
    """Forest plot of b - a: families first, then methods."""
    title = f"paired differences in {METRICS.get(metric, metric)}"
    found = [
        (pair, look)
        for key, look in (("families", palette.BLACK), ("pairs", palette.BLUE))
        for pair in arm[key]
        if pair["metric"] == metric and not is_missing(pair["difference"])
    ]
    if not found:
        return figures.no_plot(title)
    pairs, looks = [pair for pair, _ in found], [look for _, look in found]
    ns = sorted({pair["n"] for pair in pairs})
    labels = [
        f"{shortened(pair['b'], 20)}\n− {shortened(pair['a'], 20)}" + ("" if len(ns) == 1 else f" ({pair['n']})")
        for pair in pairs
    ]
    bars = "bars: 95 %" if any(_has_interval(pair["difference"]) for pair in pairs) else "no intervals"
    title = f"{title[0].upper()}{title[1:]}"
    heading = f"{title}\n{shortened(arm['name'], 28)} · {_span(ns, 'pair')}; {bars}"
    figure, (axes,) = figures.new_figure(heading, 1.2 + 0.44 * len(pairs))
    figures.rows(axes, labels, [Series(None, [pair["difference"] for pair in pairs], looks)], reference=0.0)
    families = looks.count(palette.BLACK)
    if 0 < families < len(pairs):
        axes.axhline(families - 0.5, color="#bbbbbb", linewidth=0.8)
    axes.set_xlabel("difference; right of 0 the first is better")
    caption = (
        f"Pairs of runs with the same starting point and seed; {_span(ns, 'pair')}. Right of 0: the one named first is better. "
        "Squares: means of two families. Bars: 95 % t intervals over seeds, not corrected for the number of comparisons. "
        "Hollow: not resolved."
    )
    alt = f"{title}, arm {arm['name']}."
    return Plot(f"{prefix}_difference_{_slug(metric)}", figures.png(figure), alt, caption)


def _learning_rates(arm: Arm, prefix: str, looks: Mapping[str, Look]) -> Plot | NoPlot:
    tried = [of for of in arm["learning_rates"] if not is_missing(of["score"])]
    if not tried:
        return figures.no_plot("choice of the learning rate")
    families = list(dict.fromkeys(one["family"] for one in tried))
    series = []
    for i, family in enumerate(families):
        of = sorted((one for one in tried if one["family"] == family), key=lambda one: one["lr"])
        # A little next to each other, or bars would cover bars.
        xs = [one["lr"] * 1.05 ** (i - (len(families) - 1) / 2) for one in of]
        look = _family_look(arm, family, looks)
        series.append((xs, of, Series(shortened(family), [one["score"] for one in of], look)))
    n = _span(sorted({one["runs"] for one in tried}), "run")
    bars = "bars: 95 % intervals" if any(_has_interval(one["score"]) for one in tried) else "no intervals"
    title = f"Choice of the learning rate · {shortened(arm['name'], 20)}\n{n} a value; {bars}"
    figure, (axes,) = figures.new_figure(title, 3.5)
    axes.set_xscale("log")
    figures.values_at(axes, [(xs, one) for xs, _, one in series], reference=None)
    chosen = [
        (x, one["score"]["value"])
        for xs, of, _ in series
        for x, one in zip(xs, of, strict=True)
        if one["chosen"] and one["score"]["value"] is not None
    ]
    if chosen:
        ring: dict[str, Any] = {"marker": "o", "markersize": 13, "markerfacecolor": "none", "markeredgecolor": "black"}
        axes.plot(*zip(*chosen, strict=True), linestyle="none", label="chosen", clip_on=False, **ring)
    axes.set_xlim(limits([x for xs, _, _ in series for x in xs], [], log=True))
    rates = sorted({one["lr"] for one in tried})
    axes.set_xticks(rates, [rate(lr) for lr in rates], rotation=45 if len(rates) > 5 else 0)
    axes.minorticks_off()
    axes.set_xlabel("learning rate")
    axes.set_ylabel("score")
    figures.legend(figure, axes, 2)
    caption = f"On seeds of its own. {n} a value. Bars: 95 % intervals, none (hollow) where there is one run. Ring: chosen for the family."
    alt = f"Score against the learning rate, by family, arm {arm['name']}."
    return Plot(f"{prefix}_learning_rate", figures.png(figure), alt, caption)


def _has_interval(estimate: Mapping[str, Any]) -> bool:
    return estimate["low"] is not None or estimate["high"] is not None


def _span(ns: Sequence[int], unit: str) -> str:
    return f"n = {count(ns[0], unit)}" if len(ns) == 1 else f"n = {ns[0]} to {count(ns[-1], unit)}"


def _family_look(arm: Arm, family: str, looks: Mapping[str, Look]) -> Look:
    """The look of the family's first method."""
    return next((looks[m["name"]] for m in arm["methods"] if m["family"] == family), palette.GREY)
