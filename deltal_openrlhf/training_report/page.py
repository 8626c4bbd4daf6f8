"""Writes the page of `deltal report`."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from deltal_openrlhf.reports import html, vector
from deltal_openrlhf.reports.numbers import count
from deltal_openrlhf.runs.files import write_atomically
from deltal_openrlhf.training_report import summary, table
from deltal_openrlhf.training_report.folder import TrainingRun
from deltal_openrlhf.training_report.panels import sections
from deltal_openrlhf.training_report.plots import draw
from deltal_openrlhf.training_report.samples import Samples, read_samples

CSS = """
.curves { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); align-items: start; }
.facts td, .facts thead th { text-align: left; }
.facts td.text { min-width: 8rem; overflow-wrap: anywhere; }
.curves img { background: none; border: 0; width: 100%; }
"""
NO_EVALS = "No evaluations: --eval.dataset FILE --eval.steps 10 evaluates every 10th step."
NO_ROLLOUTS = "No saved responses: --deltal.save_rollouts 20 saves those of every 20th step."


def write_page(runs: Sequence[TrainingRun], out: Path) -> str:
    """Write the page. Returns what is in it, for the console. Raises ValueError, in one line, for a broken file."""
    samples = read_samples(runs)
    with vector.drawing():
        drawn = {heading: [draw(panel) for panel in panels] for heading, panels in sections(runs)}
    names = [run.label for run in runs]
    missing = _missing(runs)
    parts = [
        Markup('<div class="facts">\n{}\n</div>').format(html.table("Runs", ["", *names], summary.rows(runs))),
        *(html.paragraph(text, "note") for text in missing),
    ]
    for heading, figures in drawn.items():
        if figures:
            parts += [
                html.heading(heading),
                Markup('<div class="curves">\n{}\n</div>').format(Markup("\n").join(figures)),
            ]
    if samples.shown:
        parts += [html.heading("Sampled responses"), *(html.paragraph(note, "note") for note in samples.notes)]
        parts.append(table.table(samples.shown))
    title = names[0] if len(runs) == 1 else f"{len(runs)} runs"
    script = table.SCRIPT if samples.shown else None
    page = html.page(f"Training report: {title}", parts, css=CSS + table.CSS, script=script)
    write_atomically(out, page)
    return _contents(runs, sum(map(len, drawn.values())), samples, missing)


def _missing(runs: Sequence[TrainingRun]) -> list[str]:
    """A sentence for what a run did not leave, with the flag that makes it."""

    def said(sentence: str, of: list[TrainingRun]) -> list[str]:
        if not of:
            return []
        return [
            sentence if len(runs) == 1 else f"{', '.join(run.label for run in of)}: {sentence[0].lower()}{sentence[1:]}"
        ]

    return [
        *said(NO_EVALS, [run for run in runs if not run.evals]),
        *said(NO_ROLLOUTS, [run for run in runs if not run.rollouts]),
    ]


def _contents(runs: Sequence[TrainingRun], curves: int, samples: Samples, missing: Sequence[str]) -> str:
    steps = ", ".join(count(len(run.metrics), "step") for run in runs)
    lines = [f"{count(len(runs), 'run')} ({steps}), {count(curves, 'plot')}, {count(len(samples.shown), 'response')}"]
    return "\n".join([*lines, *missing])
