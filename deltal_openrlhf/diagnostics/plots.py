"""The plots of `deltal diagnose`, from its findings (see analyse.py)."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from matplotlib.axes import Axes

from deltal_openrlhf.diagnostics import length_plots, method_plots
from deltal_openrlhf.diagnostics.length_plots import LENGTH
from deltal_openrlhf.diagnostics.method_plots import by_alpha, by_method, short_and_long
from deltal_openrlhf.diagnostics.resolved import finished, left_out, shown
from deltal_openrlhf.reports import figures, palette
from deltal_openrlhf.reports.figures import REFERENCE, NoPlot, Plot, Series, limits, shortened
from deltal_openrlhf.reports.numbers import estimate_text
from deltal_openrlhf.reports.palette import Look

ADVANTAGE = {
    "with_advantage": ("with advantage", palette.BLUE),
    "without_advantage": ("without advantage", palette.ORANGE),
}


def plots(findings: Mapping[str, Any]) -> list[Plot | NoPlot]:
    """All plots in the order of the page. A sentence replaces one whose values are all null."""
    return figures.draw(
        partial(make, findings)
        for make in (
            length_plots.histogram,
            length_plots.rewards,
            variance,
            _beta,
            partial(by_method, plot=method_plots.CV),
            partial(by_alpha, plot=method_plots.CV_RATIO),
            partial(by_method, plot=method_plots.COSINE),
            partial(by_method, plot=method_plots.RELATIVE_BIAS),
            partial(by_alpha, plot=method_plots.BATCH_COSINE),
            short_and_long,
            partial(by_method, plot=method_plots.NORM_RATIO),
            _covariance,
        )
    )


def _sizes(findings: Mapping[str, Any]) -> str:
    sample = findings["sample"]
    return f"n = {sample['responses']:,} responses, {sample['prompts']:,} prompts; bars: 95 %"


def variance(findings: Mapping[str, Any]) -> Plot | NoPlot:
    """Bins of lengths and the fitted power law, with and without the advantage."""
    fits = {key: findings["variance"][key].get("all") for key in ADVANTAGE}
    drawn = {key: fit for key, fit in fits.items() if fit and any(map(_is_shown, fit["bins"]))}
    estimates = [b["variance"] if _is_shown(b) else None for fit in fits.values() if fit for b in fit["bins"]]
    if (nothing := left_out("variance of a response's gradient against its length", estimates)) is not None:
        return nothing
    title = f"Variance of a response's gradient\n{_sizes(findings)}"
    figure, panels = figures.new_figure(title, 0.9 + 2.4 * len(drawn), len(drawn), sharex=True)
    bins = [b for fit in drawn.values() for b in fit["bins"]]
    for axes, (key, fit) in zip(panels, drawn.items(), strict=True):
        name, look = ADVANTAGE[key]
        _bins(axes, fit, look)
        beta = f"β = {estimate_text(fit['beta'])}" if shown(fit["beta"]) else "β not resolved"
        axes.set_title(f"{name}: {beta}", loc="left")
        axes.set_ylabel("Var(g)")
    panels[-1].set_xlabel(LENGTH)
    panels[-1].set_xlim(limits([v for b in bins for v in (b["from"], b["to"])], [], log=True))
    figures.log_axis(panels[-1].xaxis)
    used = "; ".join(
        f"{ADVANTAGE[key][0]} {fit['responses']:,} responses to {fit['prompts']:,} prompts"
        for key, fit in drawn.items()
    )
    caption = "Bins of lengths: horizontal bars are a bin's range, vertical bars 95 % intervals. "
    if any(shown(fit["beta"]) for fit in drawn.values()):
        caption += "Solid: fit c·L^β. Dashed: β = 1. "
    caption += f"n: {used}."
    off = "; ".join(f"{ADVANTAGE[key][0]} {fit['bins_off']} of {len(fit['bins'])}" for key, fit in drawn.items())
    caption += f" Bins whose interval misses the fit: {off}."
    alt = "Variance of a response's gradient against its length, both axes logarithmic."
    return finished(figure, "variance", alt, caption, estimates)


def _is_shown(found: Mapping[str, Any]) -> bool:
    """Whether a bin's variance is resolved, and so above 0."""
    return found["variance"]["resolved"] and (found["variance"]["value"] or 0) > 0


def _bins(axes: Axes, fit: Mapping[str, Any], look: Look) -> None:
    """Bins with their intervals, and where β is resolved the fit and a line of slope 1 through its middle."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    beta, intercept, bins = fit["beta"]["value"], fit["intercept"], fit["bins"]
    ends = [bins[0]["length"], bins[-1]["length"]]
    fitted = [] if shown(fit["beta"]) is None or intercept is None else [math.exp(intercept) * x**beta for x in ends]
    drawn = list(filter(_is_shown, bins))
    variances = [b["variance"] for b in drawn]
    intervals = [v[key] for v in variances for key in ("low", "high")]
    axes.set_ylim(limits([*(v["value"] for v in variances), *fitted], intervals, log=True))
    for b in drawn:
        figures.bar(axes, b["length"], b["variance"], look, horizontal=False)
        axes.plot([b["from"], b["to"]], [b["variance"]["value"]] * 2, color=look.color, linewidth=1.2, alpha=0.5)
    if fitted:
        axes.plot(ends, fitted, color="black", linewidth=1.8)
        middle = math.sqrt(fitted[0] * fitted[1] / (ends[0] * ends[1]))
        axes.plot(ends, [middle * x for x in ends], **REFERENCE)
        axes.annotate("β = 1", (ends[1], middle * ends[1]), xytext=(5, -9), textcoords="offset points", color="#666666")
    figures.log_axis(axes.yaxis)


def _beta(findings: Mapping[str, Any]) -> Plot | NoPlot:
    by_key = findings["variance"]
    types = list(dict.fromkeys(t for key in ADVANTAGE for t, fit in by_key[key].items() if shown(fit["beta"])))
    series = [
        Series(name, [shown(by_key[key].get(t, {}).get("beta")) for t in types], look)
        for key, (name, look) in ADVANTAGE.items()
        if any(shown(fit["beta"]) for fit in by_key[key].values())
    ]
    estimates = [fit["beta"] for key in ADVANTAGE for fit in by_key[key].values()]
    if (nothing := left_out("β by layer type", estimates)) is not None:
        return nothing
    figure, (axes,) = figures.new_figure(
        f"Growth of the variance by layer type\n{_sizes(findings)}", 1.6 + 0.36 * len(types)
    )
    figures.rows(axes, [shortened(t) for t in types], series, reference=1.0)
    axes.set_xlabel("β of Var(g) = c·L^β")
    figures.legend(figure, axes, 2)
    caption = f"Dashed: β = 1, a variance in proportion to the length. {_sizes(findings)} intervals."
    alt = "Exponent beta by layer type, with and without the advantage, with intervals."
    return finished(figure, "beta_by_type", alt, caption, estimates)


def _covariance(findings: Mapping[str, Any]) -> Plot | NoPlot:
    by_key = findings["covariance"]
    sorts = {"within": ("same prompt", palette.VERMILION), "between": ("different prompts", palette.SKY)}
    resolved = {
        key: {kind: c for kind, c in by_type.items() if any(shown(c[sort]) for sort in sorts)}
        for key, by_type in by_key.items()
    }
    drawn = {key: by_type for key, by_type in resolved.items() if by_type}
    types = [c for by_type in drawn.values() for c in by_type.values()]
    seen = {sort: of for sort, of in sorts.items() if any(shown(c[sort]) for c in types)}
    estimates = [c[sort] for by_type in by_key.values() for c in by_type.values() for sort in sorts]
    if (nothing := left_out("correlation of the gradients of two responses", estimates)) is not None:
        return nothing
    longest = max(map(len, drawn.values()))
    title = f"Correlation of two responses' gradients\n{_sizes(findings)}"
    figure, panels = figures.new_figure(title, 1.5 + (0.5 + 0.34 * longest) * len(drawn), len(drawn))
    for axes, (key, by_type) in zip(panels, drawn.items(), strict=True):
        series = [Series(name, [shown(c[sort]) for c in by_type.values()], look) for sort, (name, look) in seen.items()]
        figures.rows(axes, [shortened(t) for t in by_type], series, reference=0.0)
        axes.set_title(ADVANTAGE[key][0], loc="left")
    panels[-1].set_xlabel("mean of ⟨g, g′⟩ / (|g| |g′|)")
    figures.legend(figure, panels[0], 2)
    pairs = "; ".join(
        f"{ADVANTAGE[key][0]} {whole['pairs_within']:,} of the same prompt, {whole['pairs_between']:,} of different ones"
        for key, whole in ((key, by_key[key]["all"]) for key in drawn)
    )
    caption = (
        "Independent: the same prompt gives what different prompts give, which is above 0 where there is a mean gradient. Dashed: 0. "
        f"Pairs: {pairs}. Bars: 95 % intervals."
    )
    alt = "Correlation of the gradients of two responses, by layer type, with intervals."
    return finished(figure, "covariance", alt, caption, estimates)
