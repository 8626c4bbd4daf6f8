"""The tables of the report: every number of the findings, with its interval."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from deltal_openrlhf.diagnostics.method_plots import RELATIVE, sorted_methods
from deltal_openrlhf.diagnostics.methods import REFERENCE
from deltal_openrlhf.diagnostics.plots import ADVANTAGE
from deltal_openrlhf.reports import html
from deltal_openrlhf.reports.numbers import percent

NOISE = {
    "cv": "CV",
    "cv_ratio": "CV / CV of Dr. GRPO norm",
    "batch_cosine": "E cos(G, E G)",
    "batch_cosine_reference": "E cos(G, E G_ref)",
    "ess": "ESS (responses)",
    "responses_per_batch": "responses a batch",
}
BIAS = {
    "cosine": "cosine",
    "relative_norm": "relative norm",
    "relative_bias": "relative bias",
    "detectable_bias": "detectable bias",
}
NORM = {"norm": "norm", "norm_short": "short responses", "norm_long": "long responses", "norm_ratio": "long / short"}
FITS = {
    "beta": "β",
    "intercept": "log c",
    "responses": "responses",
    "prompts": "prompts",
    "bins_off": "bins off the fit",
}
BINS = {
    "from": "from (tokens)",
    "to": "to (tokens)",
    "length": "mean length",
    "responses": "responses",
    "variance": "Var(g)",
    "fitted": "fit",
}
REWARDS = {
    "from": "from (tokens)",
    "to": "to (tokens)",
    "length": "mean length",
    "responses": "responses",
    "prompts": "prompts",
    "reward": "mean reward",
}
CORRELATIONS = {
    "within": "same prompt",
    "pairs_within": "pairs",
    "between": "different prompts",
    "pairs_between": "pairs",
    "excess": "same less different",
}


def tables(findings: Mapping[str, Any]) -> list[Markup]:
    """All tables, in the order of the page."""
    methods, variance = list(_methods(findings["estimators"])), findings["variance"]
    names = {m["key"]: m["name"] for m in findings["estimators"]}
    order = [[names[entry["a"]], names[entry["b"]], entry["cv_ratio"]] for entry in findings["ordering"]]
    bins = [
        (f"{i}, {name}", entry)
        for key, (name, _) in ADVANTAGE.items()
        for i, entry in enumerate(variance[key].get("all", {"bins": []})["bins"], start=1)
    ]
    star = html.paragraph("*: another scale by design, so only the direction is compared.", "note")
    of_methods = [
        _table("Noise of a batch gradient", "method", NOISE, methods),
        html.table(
            "The paper's order of the CV, each against its neighbour, paired", ["CV of", "over that of", "ratio"], order
        ),
        _table("Bias against Dr. GRPO norm", "method", BIAS, methods),
        _table("Norm of a batch gradient", "method", NORM, methods),
        star,
    ]
    return [
        _recommendation(findings["recommendation"]),
        *(of_methods if methods else []),
        _table("Growth of the variance with the length, Var(g) = c·L^β", "gradients", FITS, _by_type(variance)),
        _table("Variance by length (all parameters)", "bin", BINS, bins),
        _table(
            "Correlation of the gradients of two responses", "gradients", CORRELATIONS, _by_type(findings["covariance"])
        ),
        _table("Reward by length", "bin", REWARDS, _numbered(findings["rewards_by_length"])),
        _sample(findings["sample"]),
    ]


def _numbered(bins: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from ((str(i), entry) for i, entry in enumerate(bins, start=1))


def _table(
    caption: str, first: str, columns: Mapping[str, str], rows: Iterable[tuple[str, Mapping[str, Any]]]
) -> Markup:
    """columns: field of an entry -> heading. rows: (name, entry)."""
    cells = [[name, *(entry[field] for field in columns)] for name, entry in rows]
    return html.table(caption, [first, *columns.values()], cells)


def _methods(estimators: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for method in sorted_methods(estimators):
        against_itself = dict.fromkeys(RELATIVE, "reference") if method["mode"] == REFERENCE else {}
        yield method["name"] + ("" if method["comparable_scale"] else " *"), {**method, **against_itself}


def _by_type(found: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """("mlp, with advantage", entry) of each layer type."""
    for key, (name, _) in ADVANTAGE.items():
        for kind, entry in found[key].items():
            yield f"{kind}, {name}", entry


def _recommendation(advice: Mapping[str, Any]) -> Markup:
    rows = [
        ["α", "not resolved" if advice["alpha"] is None else f"{advice['alpha']:g}"],
        ["not told apart from the best", ", ".join(f"{alpha:g}" for alpha in advice["candidates"]) or "none"],
        ["criterion", html.Text(advice["criterion"])],
        ["further responses that would resolve it", advice["more_responses"]],
    ]
    return html.table("Recommendation for alpha", ["", "value"], rows)


def _sample(sample: Mapping[str, Any]) -> Markup:
    rows = [
        *([f"length, {key} (tokens)", value] for key, value in sample["lengths"].items()),
        ["mean reward", sample["reward_mean"]],
        ["prompts without signal (all rewards equal)", percent(sample["prompts_without_signal"])],
        ["ESS of ∆L 1's weights as a share of the responses", sample["ess_share"]],
        ["truncated", percent(sample["truncated"])],
        ["M, max_length (tokens)", sample["max_length"]],
        ["batches in one rollout batch", sample["rollout_batches"]],
        ["random partitions into batches", sample["partitions"]],
    ]
    return html.table("Sample", ["", "value"], rows)
