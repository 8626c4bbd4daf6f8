"""A page that needs nothing but itself: no network, images inside. It suits narrow windows, dark screens and paper.

Every text is escaped unless it is Markup made here.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from markupsafe import Markup

from deltal_openrlhf.reports.figures import NoPlot, Plot
from deltal_openrlhf.reports.numbers import MISSING, NOT_RESOLVED, EstimateJson, is_missing, number, value_and_interval
from deltal_openrlhf.runs.files import write_all_atomically

CSS = """
:root { color-scheme: light dark; --text: #1a1a1a; --soft: #595959; --line: #d4d4d4; --back: #ffffff; --box: #f4f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e6e6; --soft: #a8a8a8; --line: #444444; --back: #16181b; --box: #202429; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 76rem; color: var(--text); background: var(--back);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2rem; } h3 { font-size: 1rem; margin-top: 1.5rem; }
p, ul, dl { max-width: 46rem; } ul { padding-left: 1.2rem; }
.answer { background: var(--box); border-left: 4px solid #0072b2; padding: .5rem 1rem; max-width: 48rem; }
.warning { background: var(--box); border-left: 4px solid #d55e00; padding: .5rem 1rem; max-width: 48rem; margin: 1rem 0; }
.plots { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); align-items: start; }
figure { margin: 0; min-width: 0; }
figure img { display: block; max-width: 100%; height: auto; background: #ffffff; border: 1px solid var(--line); border-radius: 4px; }
figcaption, .note { color: var(--soft); font-size: .875rem; }
figcaption { margin-top: .25rem; }
.scroll { overflow-x: auto; max-width: 100%; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .25rem; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; white-space: nowrap; }
thead th { vertical-align: bottom; white-space: normal; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--back); white-space: normal;
  min-width: 6.5rem; max-width: 14rem; }
td .interval, td em { display: block; color: var(--soft); font-size: .8125rem; }
td.text { text-align: left; white-space: normal; min-width: 12rem; max-width: 40rem; }
td.text code { overflow-wrap: anywhere; }
dt { font-weight: 600; margin-top: .5rem; } dd { margin: 0; }
pre { background: var(--box); padding: .75rem; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .8125rem; }
@media print {
  :root { --text: #000000; --soft: #444444; --line: #bbbbbb; --back: #ffffff; --box: #f4f4f4; }
  body { padding: 0; max-width: none; font-size: 10pt; }
  .scroll { overflow: visible; } table { font-size: 6.5pt; } th, td { padding: .1rem .25rem; }
  td .interval, td em { font-size: 6pt; }
  th:first-child { position: static; } figure, tr { break-inside: avoid; } h2, h3, caption { break-after: avoid; }
  .plots { grid-template-columns: 1fr 1fr; }
}
"""


def write_report(folder: Path, title: str, parts: Iterable[Markup], plots: Iterable[Plot | NoPlot]) -> None:
    """Write folder/report.html and folder/plots/<name>.png, all or none. title: also the first heading."""
    html = page(title, parts)
    files = {folder / "plots" / f"{plot.name}.png": plot.png for plot in plots if isinstance(plot, Plot)}
    write_all_atomically({**files, folder / "report.html": html.encode("utf-8")})


def page(title: str, parts: Iterable[Markup], *, css: str = "", script: str | None = None) -> str:
    """The whole page. css: in addition to that of every page. script: the only one that the browser may run, by its hash."""
    allowed = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    if script is not None:
        digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
        allowed += f"; script-src 'sha256-{digest}'"
    return Markup(
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="{allowed}">\n'
        "<title>{title}</title>\n<style>{css}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{body}\n</main>\n{script}</body>\n</html>\n"
    ).format(
        allowed=allowed,
        title=title,
        css=Markup(CSS + css),
        body=Markup("\n").join(parts),
        script=Markup("<script>{}</script>\n").format(Markup(script)) if script is not None else "",
    )


def heading(text: str, level: int = 2) -> Markup:
    return Markup("<h{0}>{1}</h{0}>").format(level, text)


def paragraph(text: str, kind: str | None = None) -> Markup:
    """kind: None or "note"."""
    return Markup("<p>{}</p>").format(text) if kind is None else Markup('<p class="{}">{}</p>').format(kind, text)


def box(kind: str, parts: Iterable[Markup]) -> Markup:
    """kind: "answer" or "warning"."""
    return Markup('<div class="{}">\n{}\n</div>').format(kind, Markup("\n").join(parts))


def warnings(texts: Sequence[str]) -> list[Markup]:
    """A box with a paragraph for each text; nothing without texts."""
    return [box("warning", map(paragraph, texts))] if texts else []


def bullets(items: Iterable[str]) -> Markup:
    return Markup("<ul>\n{}\n</ul>").format(Markup("\n").join(Markup("<li>{}</li>").format(item) for item in items))


def definitions(text: str) -> Markup:
    """text: a term in each line, what it means indented below it."""
    of_terms = (block.split("\n", 1) for block in re.split(r"\n(?=\S)", text))
    rows = (Markup("<dt>{}</dt><dd>{}</dd>").format(term, " ".join(meaning.split())) for term, meaning in of_terms)
    return Markup("<dl>\n{}\n</dl>").format(Markup("\n").join(rows))


def preformatted(text: str) -> Markup:
    return Markup("<pre>{}</pre>").format(text)


class Text(str):
    """A cell of words: aligned left, broken into lines."""


Cell = str | int | float | None | EstimateJson


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Markup:
    """In a box of its own that scrolls. The first column names the row. A cell is an estimate, a number, a text, or None."""
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in header)
    body = Markup("\n").join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(name, Markup("").join(map(_cell, cells)))
        for name, *cells in rows
    )
    # Focusable: the box can then be scrolled by the keyboard.
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="{0}">\n<table>\n<caption>{0}</caption>\n'
        "<thead><tr>{1}</tr></thead>\n<tbody>\n{2}\n</tbody>\n</table>\n</div>"
    ).format(caption, head, body)


def _cell(cell: Cell) -> Markup:
    if isinstance(cell, Text):
        return Markup('<td class="text">{}</td>').format(cell)
    if cell is None or isinstance(cell, str):
        return Markup("<td>{}</td>").format(MISSING if cell is None else cell)
    if isinstance(cell, int | float):
        return Markup("<td>{}</td>").format(number(cell))
    if is_missing(cell):
        return Markup("<td>{}</td>").format(MISSING)
    mark = Markup("") if cell["resolved"] else Markup("<em>{}</em>").format(NOT_RESOLVED)
    return Markup('<td>{} <span class="interval">{}</span>{}</td>').format(*value_and_interval(cell), mark)


def plots(found: Iterable[Plot | NoPlot]) -> Markup:
    """The plots side by side where there is room; below them one sentence for each that the data do not carry."""
    found = list(found)
    figures = [
        Markup(
            '<figure><img src="data:image/png;base64,{}" alt="{}" width="560"><figcaption>{}</figcaption></figure>'
        ).format(base64.b64encode(plot.png).decode("ascii"), plot.alt, plot.caption)
        for plot in found
        if isinstance(plot, Plot)
    ]
    reasons = [paragraph(plot.reason, "note") for plot in found if isinstance(plot, NoPlot)]
    return Markup("\n").join([Markup('<div class="plots">\n{}\n</div>').format(Markup("\n").join(figures)), *reasons])
