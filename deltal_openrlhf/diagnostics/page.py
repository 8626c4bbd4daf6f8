"""Writes the report of `deltal diagnose`, report.html and plots/*.png, from the findings alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from deltal_openrlhf.diagnostics.answer import sentences
from deltal_openrlhf.diagnostics.definitions import DEFINITIONS
from deltal_openrlhf.diagnostics.plots import plots
from deltal_openrlhf.diagnostics.tables import tables
from deltal_openrlhf.reports import html
from deltal_openrlhf.reports.numbers import count, number, percent


def write_report(findings: dict, folder: Path) -> None:
    """Write folder/report.html and folder/plots/*.png. findings: findings.json of `deltal diagnose` (analyse.py, with "source")."""
    found = plots(findings)
    parts = [
        html.paragraph(what_was_measured(findings)),
        _answer(findings),
        html.heading("Plots"),
        html.plots(found),
        html.heading("Numbers"),
        *tables(findings),
        html.heading("How it was computed"),
        html.definitions(DEFINITIONS),
        html.heading("Settings"),
        *_settings(findings["source"]),
    ]
    html.write_report(folder, "Gradients of responses: variance, noise and bias", parts, found)


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
