"""Plots of `deltal diagnose` that compare methods: one row for each, or ∆L against alpha."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from deltal_openrlhf.diagnostics.methods import REFERENCE
from deltal_openrlhf.diagnostics.resolved import finished, left_out, shown
from deltal_openrlhf.reports import figures, palette
from deltal_openrlhf.reports.end_names import End, name_ends
from deltal_openrlhf.reports.figures import NoPlot, Plot, Series, shortened
from deltal_openrlhf.reports.palette import Look

KINDS = ("baseline", "deltal", "comparison")
RELATIVE = ("cv_ratio", "cosine", "relative_norm", "relative_bias", "detectable_bias")
"""Fields of a method that are taken against the reference, which has no row in their plots."""


class MethodPlot(NamedTuple):
    field: str
    """of a method"""
    title: str
    label: str
    """of the axis with the values"""
    line: float | None = None
    """a dashed reference line"""
    log: bool = False
    name: str | None = None
    """of the file, where it is not the field's"""

    @property
    def file(self) -> str:
        return self.name or self.field


SHORT_LONG = (("norm_short", "short responses", palette.SKY), ("norm_long", "long responses", palette.VERMILION))

CV = MethodPlot("cv", "Coefficient of variation of a batch gradient", "CV = √E|G − E G|² / |E G|")
CV_RATIO = MethodPlot(
    "cv_ratio", "CV of a batch gradient relative to Dr. GRPO norm", "CV / CV of Dr. GRPO norm", line=1.0
)
COSINE = MethodPlot(
    "cosine",
    "Bias: cosine with the mean gradient of Dr. GRPO norm",
    "cos(E G, E G of Dr. GRPO norm)",
    line=1.0,
    name="bias_cosine",
)
RELATIVE_BIAS = MethodPlot(
    "relative_bias",
    "Bias relative to Dr. GRPO norm (ref)",
    "|E G − E G_ref| / |E G_ref|",
    line=0.0,
)
BATCH_COSINE = MethodPlot(
    "batch_cosine_reference",
    "One batch: cosine with the mean of Dr. GRPO norm",
    "E cos(G, E G of Dr. GRPO norm)",
    name="batch_cosine",
)
NORM_RATIO = MethodPlot(
    "norm_ratio", "Gradient norm, long over short responses", "√E|G|², long / short", line=1.0, log=True
)


def sorted_methods(estimators: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Sorted: baselines, then ∆L by scope and alpha, then comparisons."""

    def key(method: Mapping[str, Any]) -> tuple[int, int, float]:
        if method["kind"] != "deltal":
            return KINDS.index(method["kind"]), 0, 0.0
        return KINDS.index("deltal"), list(palette.SCOPES).index(method["scope"]), method["alpha"]

    return sorted(estimators, key=key)


def row_name(method: Mapping[str, Any]) -> str:
    """The method's name with its scope where that is not "step", and a star where the scale is another by design."""
    scope = method["scope"]
    other_scope = method["kind"] == "deltal" and scope != "step" and scope not in method["name"]
    return (
        shortened(method["name"])
        + (f" ({scope})" if other_scope else "")
        + ("" if method["comparable_scale"] else " *")
    )


def _titled(title: str, sample: Mapping[str, Any]) -> str:
    return f"{title}\nn = {sample['responses']:,} responses, {sample['batches']} batches; bars: 95 %"


def _how(sample: Mapping[str, Any], starred: bool = False) -> str:
    star = " *: another scale by design, so only the direction is compared." if starred else ""
    return (
        f"n = {sample['responses']:,} responses to {sample['prompts']:,} prompts, as {sample['batches']} disjoint batches in each of "
        f"{sample['partitions']:,} random partitions. Bars: 95 % intervals, an arrow where they continue.{star}"
    )


def by_method(findings: Mapping[str, Any], plot: MethodPlot) -> Plot | NoPlot:
    rows = _rows(findings, plot.field)
    estimates = [m[plot.field] for m in rows]
    if (nothing := left_out(plot.title, estimates)) is not None:
        return nothing
    methods = [m for m in rows if shown(m[plot.field])]
    figure, (axes,) = figures.new_figure(_titled(plot.title, findings["sample"]), 1.35 + 0.2 * len(methods))
    powers = [m["detectable_bias"] if plot is RELATIVE_BIAS else None for m in methods]
    series = Series(None, [m[plot.field] for m in methods], [_look(m) for m in methods])
    figures.rows(axes, [row_name(m) for m in methods], [series], plot.line, plot.log, include=powers)
    marks = [(power, row) for row, power in enumerate(powers) if power is not None]
    if marks:
        axes.plot(*zip(*marks, strict=True), "|", color="black", markersize=9, label="bias that would have been seen")
        figures.legend(figure, axes, 1)
    axes.set_xlabel(plot.label)
    caption = _how(findings["sample"], any(not m["comparable_scale"] for m in methods))
    if marks:
        caption += " Upright mark: the bias that these data would have shown with 80 % chance."
    alt = f"{_flat(plot.title)}, one row for each method, with intervals."
    return finished(figure, plot.file, alt, caption, estimates)


def short_and_long(findings: Mapping[str, Any]) -> Plot | NoPlot:
    """Two values for each method: its gradient norm on prompts with short and with long responses."""
    title = "Gradient norm with short and with long responses"
    methods = sorted_methods(findings["estimators"])
    estimates = [m[field] for m in methods for field, _, _ in SHORT_LONG]
    if (nothing := left_out(title, estimates)) is not None:
        return nothing
    methods = [m for m in methods if any(shown(m[field]) for field, _, _ in SHORT_LONG)]
    figure, (axes,) = figures.new_figure(_titled(title, findings["sample"]), 1.6 + 0.25 * len(methods))
    series = [Series(name, [shown(m[field]) for m in methods], look) for field, name, look in SHORT_LONG]
    figures.rows(axes, [row_name(m) for m in methods], series, None, log=True)
    axes.set_xlabel("√E|G|²")
    figures.legend(figure, axes, 2)
    caption = "The third of the prompts with the shortest responses and that with the longest. "
    caption += _how(findings["sample"], any(not m["comparable_scale"] for m in methods))
    alt = f"{_flat(title)}, one row for each method, with intervals."
    return finished(figure, "norm_by_length", alt, caption, estimates)


def by_alpha(findings: Mapping[str, Any], plot: MethodPlot) -> Plot | NoPlot:
    """∆L against alpha for each scope; the baselines to the right of it."""
    methods = [m for m in _rows(findings, plot.field) if m["kind"] in ("deltal", "baseline")]
    deltal = [m for m in methods if m["kind"] == "deltal"]
    estimates = [m[plot.field] for m in methods]
    nothing = left_out(plot.title, [m[plot.field] for m in deltal])
    if nothing is not None:
        return nothing
    alphas = sorted({m["alpha"] for m in deltal})
    step = (alphas[-1] - alphas[0]) / max(1, len(alphas) - 1) or 1.0
    series = []
    ends: list[End] = []
    for i, (scope, look) in enumerate(palette.SCOPES.items()):
        of = [m for m in deltal if m["scope"] == scope]
        for resolved, run in groupby(of, lambda m: shown(m[plot.field]) is not None):
            if resolved:  # no line bridges an alpha that is not
                joined = list(run)
                # A little beside each other, or bars would cover bars.
                xs = [m["alpha"] + 0.16 * step * (i - 1) for m in joined]
                series.append((xs, Series(scope, [m[plot.field] for m in joined], look)))
                ends = [end for end in ends if end.name != scope]
                ends.append(End(scope, xs[-1], joined[-1][plot.field]["value"], look.color))
    baselines = [m for m in methods if m["kind"] == "baseline" and shown(m[plot.field])]
    border = alphas[-1] + 2 * step  # what is between holds the names of the scopes
    beside = [border + step * (0.8 + 1.6 * i) for i in range(len(baselines))]
    series += [([x], Series(m["name"], [m[plot.field]], _look(m))) for x, m in zip(beside, baselines, strict=True)]
    figure, (axes,) = figures.new_figure(_titled(plot.title, findings["sample"]), 3.4)
    figures.values_at(axes, series, plot.line)
    ticks: list[float] = [a for a in alphas if len(alphas) < 5 or 2 * a == round(2 * a)]
    labels = [f"{a:g}" for a in ticks]
    if baselines:
        axes.axvline(border, color="#bbbbbb", linewidth=0.8)
        axes.set_xlim(right=beside[-1] + 0.8 * step)
        ticks, labels = [*ticks, *beside], [*labels, *(m["name"].replace(" ", "\n") for m in baselines)]
    axes.set_xticks(ticks, labels)
    axes.set_xlabel("α of ∆L, by scope", loc="left", labelpad=-12 if baselines else None)
    axes.set_ylabel(plot.label)
    left, right = axes.get_xlim()
    ends = [end for end in ends if end.y is not None]  # an interval without a value
    name_ends(axes, ends, height=2.4, at=(alphas[-1] + 0.6 * step - left) / (right - left))
    caption = _how(findings["sample"]) + (
        " Dashed: equal to Dr. GRPO norm, which is ∆L with α = 0." if plot.line is not None else ""
    )
    alt = f"{_flat(plot.title)}, against alpha for each scope, with intervals."
    return finished(figure, plot.file, alt, caption, estimates)


def _rows(findings: Mapping[str, Any], field: str) -> list[Mapping[str, Any]]:
    """The methods that have a row, resolved or not: all but the reference where the field is taken against it."""
    methods = sorted_methods(findings["estimators"])
    return [m for m in methods if not (field in RELATIVE and m["mode"] == REFERENCE)]


def _look(method: Mapping[str, Any]) -> Look:
    if method["kind"] == "deltal":
        return palette.SCOPES[method["scope"]]
    return palette.FIXED.get(method["name"], palette.GREY)


def _flat(title: str) -> str:
    return " ".join(title.split())
