"""The report of `deltal diagnose`: report.html and plots/*.png, from the findings alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from deltal_openrlhf.diagnostics.answer import sentences
from deltal_openrlhf.diagnostics.method_plots import REFERENCE, sorted_methods
from deltal_openrlhf.diagnostics.plots import ADVANTAGE, plots
from deltal_openrlhf.reports import html
from deltal_openrlhf.reports.numbers import count, number, percent
from deltal_openrlhf.reports.write import write_page

RELATIVE = ("cv_ratio", "cosine", "relative_norm", "relative_bias", "detectable_bias")
"""Fields of a method that are taken against the reference."""

DEFINITIONS = (
    (
        "s_i, g_i = A_i s_i",
        "s_i is the gradient of Σ_t log π(y_t) over the L_i trained tokens of response i, A_i its advantage.",
    ),
    (
        "G = Σ_i x_i A_i s_i",
        "The gradient of one batch, which is one optimizer step. A method is the weights x_i and the advantages.",
    ),
    (
        "Var(g) = E|g − E g|² = c·L^β",
        "Fitted to responses without binning; what E g adds is removed by pairs of responses to different prompts. With advantage "
        "without the responses whose advantage is 0: prompts whose rewards are all equal take no part.",
    ),
    (
        "Dr. GRPO norm",
        "x_i = 1 / (N M): the plain mean of the responses' gradients. Bias is measured against its mean, E G_ref.",
    ),
    (
        "GRPO norm, DAPO norm",
        "x_i = 1 / (N L_i) and x_i = 1 / Σ_j L_j.",
    ),
    (
        "∆L α",
        "x_i = L_i^−α / (M Σ_j L_j^−α); the sum runs over the scope: the step, the rollout batch, or the responses to"
        " one prompt.",
    ),
    (
        "∆L α above 1",
        "Measured to see where noise goes; training does not offer it.",
    ),
    (
        "OPO",
        "Dr. GRPO norm with A_i = r_i − Σ_j L_j r_j / Σ_j L_j over the prompt's responses, not divided by a standard deviation "
        "(arXiv 2505.23585): its CV differs from Dr. GRPO norm's by both.",
    ),
    (
        "λ-GRPO",
        "DAPO norm with each x_i times n softmax(h^λ)_i, h = 1 + z / 9, z the length standardised within the prompt (arXiv 2510.06870; "
        "there λ is learned, here it is fixed).",
    ),
    (
        "Balanced aggregation",
        "For each prompt the token means over its responses of positive and of negative advantage, weighted by their numbers; the mean "
        "over prompts (arXiv 2605.04077).",
    ),
    (
        "CV = √E|G − E G|² / |E G|",
        "Coefficient of variation of a batch gradient, from disjoint batches; the square of the mean is taken between"
        " independent batches.",
    ),
    (
        "Cosine, relative norm",
        "cos(E G, E G_ref) and |E G| / |E G_ref|.",
    ),
    (
        "Relative bias",
        "|E G − E G_ref| / |E G_ref|; for a method of another scale by design (*), after multiplying E G by the "
        "number that fits best.",
    ),
    (
        "Detectable bias",
        "The relative bias that these data would have shown with 80 % chance, by an interval that lies above 0.",
    ),
    (
        "Cosine of a batch",
        "E cos(G, E G): noise alone. E cos(G, E G_ref): noise and bias together, the quality of one step's direction.",
    ),
    (
        "Norm",
        "√E|G|², the length of one plain SGD step; short and long: batches of the third of the prompts with the "
        "shortest and longest responses.",
    ),
    (
        "ESS",
        "Effective sample size (Σ x_i)² / Σ x_i² of one batch, in responses.",
    ),
    (
        "Correlation",
        "Mean of ⟨g, g′⟩ / (|g| |g′|) over pairs of responses: to the same prompt, and to different prompts. Independent responses to "
        "different prompts have the mean gradient in common and lie above 0; dependence is what the same prompt has beyond them.",
    ),
    (
        "Intervals",
        "95 %, over prompts: bootstrap for β and the bins, jackknife that leaves out one prompt for the rest. Not "
        "corrected for their number.",
    ),
    (
        "Not resolved",
        "The data cannot tell: the interval of β is wider than 1; that of a ratio or cosine holds 1; that of a bias "
        "or correlation holds 0; or, for a CV, the mean gradient is not distinguishable from 0.",
    ),
)


def write_report(findings: dict, folder: Path) -> None:
    """Write folder/report.html and folder/plots/*.png. findings: findings.json of `deltal diagnose` (analyse.py, with "source")."""
    found = plots(findings)
    text = html.page(
        "Gradients of responses: variance, noise and bias",
        [
            html.paragraph(what_was_measured(findings)),
            _answer(findings),
            html.heading("Plots"),
            html.plots(found),
            html.heading("Numbers"),
            *_tables(findings),
            html.heading("How it was computed"),
            html.definitions(DEFINITIONS),
            html.heading("Settings"),
            *_settings(findings["source"]),
        ],
    )
    write_page(folder, text, found)


def what_was_measured(findings: Mapping[str, Any]) -> str:
    source, sample = findings["source"], findings["sample"]
    lengths, n = sample["lengths"], sample["responses_per_prompt"]
    batch = sample["batch_prompts"]
    return (
        f"Model {source.get('model', 'not named')}. "
        f"{count(sample['responses'], 'response')}: {n} to each of {count(sample['prompts'], 'prompt')}, "
        f"{number(lengths['min'])} to {number(lengths['max'])} trained tokens long (median {number(lengths['p50'])}), "
        f"{percent(sample['truncated'])} cut off, mean reward {number(sample['reward_mean'])}. "
        f"One batch: {count(batch, 'prompt')}, {count(batch * n, 'response')}; "
        f"{count(sample['batches'], 'disjoint batch', 'disjoint batches')}. "
        f"Advantages: {sample['advantage']}."
    )


def _answer(findings: Mapping[str, Any]) -> Markup:
    advice = findings["recommendation"]
    return html.box(
        "answer",
        [
            *(html.paragraph(sentence) for sentence in sentences(findings)),
            html.paragraph(f"Recommendation: {advice['text']}"),
            html.paragraph(
                "In brackets: 95 % intervals. All of this is about the gradient of one step of this model on these prompts, "
                "not about how a run trains.",
                "note",
            ),
        ],
    )


def _tables(findings: Mapping[str, Any]) -> list[Markup]:
    methods = sorted_methods(findings["estimators"])
    names = {m["key"]: m["name"] for m in methods}

    def of_methods(caption: str, columns: Mapping[str, str]) -> Markup:
        rows = [
            [
                m["name"] + ("" if m["comparable_scale"] else " *"),
                *("reference" if m["mode"] == REFERENCE and field in RELATIVE else m[field] for field in columns),
            ]
            for m in methods
        ]
        return html.table(caption, ["method", *columns.values()], rows)

    return [
        *_recommendation(findings["recommendation"]),
        of_methods(
            "Noise of a batch gradient",
            {
                "cv": "CV",
                "cv_ratio": "CV / CV of Dr. GRPO norm",
                "batch_cosine": "E cos(G, E G)",
                "batch_cosine_reference": "E cos(G, E G_ref)",
                "ess": "ESS (responses)",
                "responses_per_batch": "responses a batch",
            },
        ),
        html.table(
            "The paper's order of the CV, each against its neighbour, paired",
            ["CV of", "over that of", "ratio"],
            [[names[entry["a"]], names[entry["b"]], entry["cv_ratio"]] for entry in findings["ordering"]],
        ),
        of_methods(
            "Bias against Dr. GRPO norm",
            {
                "cosine": "cosine",
                "relative_norm": "relative norm",
                "relative_bias": "relative bias",
                "detectable_bias": "detectable bias",
            },
        ),
        of_methods(
            "Norm of a batch gradient",
            {
                "norm": "norm",
                "norm_short": "short responses",
                "norm_long": "long responses",
                "norm_ratio": "long / short",
            },
        ),
        html.paragraph("*: of another scale by design, so that only its direction is compared.", "note"),
        html.table(
            "Growth of the variance with the length, Var(g) = c·L^β",
            ["gradients", "β", "log c", "responses", "prompts", "bins off the fit"],
            [
                [f"{t}, {name}", fit["beta"], fit["intercept"], fit["responses"], fit["prompts"], fit["bins_off"]]
                for key, (name, _) in ADVANTAGE.items()
                for t, fit in findings["variance"][key].items()
            ],
        ),
        html.table(
            "Variance by length (all parameters)",
            ["bin", "from (tokens)", "to (tokens)", "mean length", "responses", "Var(g)", "fit"],
            [
                [f"{i}, {name}", b["from"], b["to"], b["length"], b["responses"], b["variance"], b["fitted"]]
                for key, (name, _) in ADVANTAGE.items()
                for i, b in enumerate(findings["variance"][key].get("all", {"bins": []})["bins"], start=1)
            ],
        ),
        html.table(
            "Correlation of the gradients of two responses",
            ["gradients", "same prompt", "pairs", "different prompts", "pairs", "same less different"],
            [
                [f"{t}, {name}", c["within"], c["pairs_within"], c["between"], c["pairs_between"], c["excess"]]
                for key, (name, _) in ADVANTAGE.items()
                for t, c in findings["covariance"][key].items()
            ],
        ),
        _sample(findings["sample"]),
    ]


def _recommendation(advice: Mapping[str, Any]) -> list[Markup]:
    more = advice["more_responses"]
    rows = [
        ["α", "not resolved" if advice["alpha"] is None else f"{advice['alpha']:g}"],
        ["not told apart from the best", ", ".join(f"{alpha:g}" for alpha in advice["candidates"]) or "none"],
        ["criterion", html.Text(advice["criterion"])],
        ["further responses that would resolve it", more],
    ]
    return [html.table("Recommendation for alpha", ["", "value"], rows)]


def _sample(sample: Mapping[str, Any]) -> Markup:
    lengths = sample["lengths"]
    rows = [
        *([f"length, {key} (tokens)", value] for key, value in lengths.items()),
        ["mean reward", sample["reward_mean"]],
        ["prompts without signal (all rewards equal)", percent(sample["prompts_without_signal"])],
        ["truncated", percent(sample["truncated"])],
        ["M, max_length (tokens)", sample["max_length"]],
        ["batches in one rollout batch", sample["rollout_batches"]],
        ["random partitions into batches", sample["partitions"]],
    ]
    return html.table("Sample", ["", "value"], rows)


def _settings(source: Mapping[str, Any]) -> list[Markup]:
    """Whatever the source holds, nested entries by their path; the command below it, to be copied."""

    def flat(prefix: str, value: Any) -> list[list[str]]:
        if isinstance(value, Mapping):
            return [
                row for key, inner in value.items() for row in flat(f"{prefix}.{key}" if prefix else str(key), inner)
            ]
        if isinstance(value, bool) or not isinstance(value, int | float):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            return [[prefix, html.Text(text)]]
        return [[prefix, number(value)]]

    command = source.get("command")
    table = html.table("Source", ["setting", "value"], flat("", {k: v for k, v in source.items() if k != "command"}))
    if command is None:
        return [table]
    return [
        table,
        html.paragraph("Command:"),
        html.preformatted(command if isinstance(command, str) else " ".join(command)),
    ]
