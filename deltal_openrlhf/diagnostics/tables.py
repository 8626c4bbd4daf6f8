"""The tables of the report: every number of the findings, with its interval."""

from collections.abc import Iterator, Mapping, Sequence
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


def tables(findings: Mapping[str, Any]) -> list[Markup]:
    """All tables, in the order of the page."""
    methods = sorted_methods(findings["estimators"])
    names = {m["key"]: m["name"] for m in methods}
    order = [[names[entry["a"]], names[entry["b"]], entry["cv_ratio"]] for entry in findings["ordering"]]
    return [
        _recommendation(findings["recommendation"]),
        _of_methods("Noise of a batch gradient", methods, NOISE),
        html.table(
            "The paper's order of the CV, each against its neighbour, paired", ["CV of", "over that of", "ratio"], order
        ),
        _of_methods("Bias against Dr. GRPO norm", methods, BIAS),
        _of_methods("Norm of a batch gradient", methods, NORM),
        html.paragraph("*: of another scale by design, so that only its direction is compared.", "note"),
        _fits(findings["variance"]),
        _bins(findings["variance"]),
        _correlations(findings["covariance"]),
        _sample(findings["sample"]),
    ]


def _of_methods(caption: str, methods: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> Markup:
    """columns: field of a method -> heading."""
    rows = [
        [
            m["name"] + ("" if m["comparable_scale"] else " *"),
            *("reference" if m["mode"] == REFERENCE and field in RELATIVE else m[field] for field in columns),
        ]
        for m in methods
    ]
    return html.table(caption, ["method", *columns.values()], rows)


def _fits(variance: Mapping[str, Any]) -> Markup:
    return html.table(
        "Growth of the variance with the length, Var(g) = c·L^β",
        ["gradients", "β", "log c", "responses", "prompts", "bins off the fit"],
        [
            [label, fit["beta"], fit["intercept"], fit["responses"], fit["prompts"], fit["bins_off"]]
            for label, fit in _by_type(variance)
        ],
    )


def _bins(variance: Mapping[str, Any]) -> Markup:
    return html.table(
        "Variance by length (all parameters)",
        ["bin", "from (tokens)", "to (tokens)", "mean length", "responses", "Var(g)", "fit"],
        [
            [f"{i}, {name}", b["from"], b["to"], b["length"], b["responses"], b["variance"], b["fitted"]]
            for key, (name, _) in ADVANTAGE.items()
            for i, b in enumerate(variance[key].get("all", {"bins": []})["bins"], start=1)
        ],
    )


def _correlations(covariance: Mapping[str, Any]) -> Markup:
    return html.table(
        "Correlation of the gradients of two responses",
        ["gradients", "same prompt", "pairs", "different prompts", "pairs", "same less different"],
        [
            [label, c["within"], c["pairs_within"], c["between"], c["pairs_between"], c["excess"]]
            for label, c in _by_type(covariance)
        ],
    )


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
        ["truncated", percent(sample["truncated"])],
        ["M, max_length (tokens)", sample["max_length"]],
        ["batches in one rollout batch", sample["rollout_batches"]],
        ["random partitions into batches", sample["partitions"]],
    ]
    return html.table("Sample", ["", "value"], rows)
