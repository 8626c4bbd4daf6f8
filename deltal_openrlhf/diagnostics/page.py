"""Writes the report of `deltal diagnose`, report.html and plots/*.png, from the findings alone."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from deltal_openrlhf.diagnostics.answer import sentences
from deltal_openrlhf.diagnostics.definitions import DEFINITIONS
from deltal_openrlhf.diagnostics.plots import plots
from deltal_openrlhf.diagnostics.recommend import training_flags
from deltal_openrlhf.diagnostics.tables import tables
from deltal_openrlhf.reports import html
from deltal_openrlhf.reports.figures import NoPlot, Plot
from deltal_openrlhf.reports.numbers import count, number, percent


def write_report(findings: dict, folder: Path) -> None:
    """Write folder/report.html and folder/plots/*.png. findings: findings.json of `deltal diagnose` (analyse.py, with "source")."""
    found = plots(findings)
    html.write_report(folder, "Gradients of responses: variance, noise and bias", page_parts(findings, found), found)


def page_parts(findings: Mapping[str, Any], found: Sequence[Plot | NoPlot]) -> list[Markup]:
    """The page from top to bottom: what is wrong, what was measured, the answer, and what it rests on. found: its plots."""
    return [
        *html.warnings([obstacle["text"] for obstacle in findings["obstacles"]]),
        html.paragraph(what_was_measured(findings)),
        _answer(findings),
        *_flags(findings),
        html.heading("Plots"),
        html.plots(found),
        *_responses(findings["responses"]),
        html.heading("Numbers"),
        *tables(findings),
        html.heading("How it was computed"),
        html.definitions(DEFINITIONS),
        html.heading("Settings"),
        *_settings(findings["source"]),
    ]


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


def _flags(findings: Mapping[str, Any]) -> list[Markup]:
    said, command = training_flags(findings["recommendation"], [obstacle["key"] for obstacle in findings["obstacles"]])
    shown = [] if command is None else [html.preformatted(command)]
    return [html.heading("Flags to train with"), html.paragraph(said), *shown]


def _responses(found: Sequence[Mapping[str, Any]]) -> list[Markup]:
    """Texts as the model saw and wrote them."""
    parts = [
        html.heading("Some responses"),
        html.paragraph("Drawn at random from those of the highest and of the lowest reward.", "note"),
    ]
    for number_of, one in enumerate(found, start=1):
        cut = ", cut off at the limit" if one["truncated"] else ""
        text = "The rollouts hold no text." if one["response"] is None else one["response"]
        parts += [
            html.heading(f"{number_of}. Reward {number(one['reward'])}, {count(one['length'], 'token')}{cut}", 3),
            html.paragraph("Prompt:", "note"),
            html.preformatted(one["prompt"]),
            html.paragraph("Response:", "note"),
            html.preformatted(text),
        ]
    return parts


def _settings(source: Mapping[str, Any]) -> list[Markup]:
    """All settings of the source, nested ones by their path. The command follows, so that it can be copied."""
    settings = {key: value for key, value in source.items() if key != "command"}
    return [
        html.table("Source", ["setting", "value"], _flat("", settings)),
        html.paragraph("Command:"),
        html.preformatted(source["command"]),
    ]


def _flat(prefix: str, value: Any) -> list[list[str]]:
    """Rows of path and value."""
    if isinstance(value, Mapping):
        return [row for key, inner in value.items() for row in _flat(f"{prefix}.{key}" if prefix else key, inner)]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [[prefix, number(value)]]
    return [[prefix, html.Text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))]]
