"""The table of sampled responses. Without JavaScript all rows are there, in order; with it they can be searched, chosen and sorted."""

from collections.abc import Sequence

from markupsafe import Markup

from deltal_openrlhf.reports.numbers import MISSING, number
from deltal_openrlhf.training_report.samples import Sample

FOLDED = 160
"""Characters of a text that stand in the row before it is unfolded."""
WORDS = ("run", "prompt", "label", "response")
AT_FIRST = 50
"""Rows that are shown before "more" is pressed."""

CSS = """
.tools { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: end; margin: 1rem 0; }
.tools[hidden] { display: none; }
.tools label { display: flex; flex-direction: column; font-size: .8125rem; color: var(--soft); }
.tools input, .tools select { font: inherit; font-size: 1rem; color: var(--text); background: var(--back);
  border: 1px solid var(--soft); border-radius: 4px; padding: .3rem .5rem; min-height: 2.25rem; max-width: 100%; }
.tools input { width: 17rem; }
.tools output { padding-bottom: .4rem; color: var(--soft); font-size: .875rem; }
:focus-visible { outline: 2px solid #0072b2; outline-offset: 2px; }
#samples { width: 100%; table-layout: fixed; }
#samples th, #samples td { white-space: normal; min-width: 0; max-width: none; }
#samples th:first-child, #samples td:first-child { position: static; text-align: left; }
#samples thead th.words { vertical-align: bottom; }
#samples .words { text-align: left; white-space: pre-wrap; overflow-wrap: anywhere; }
#samples col.number { width: 5rem; } #samples col.step { width: 3.5rem; } #samples col.weight { width: 8rem; }
#samples col.prompt { width: 20%; } #samples col.label { width: 9%; } #samples col.run { width: 8rem; }
#samples .soft { display: block; color: var(--soft); font-size: .8125rem; }
#samples summary { cursor: pointer; } #samples details[open] .begin { display: none; }
#samples summary .more { color: var(--soft); text-decoration: underline; }
#samples details[open] .more::after { content: "fold"; } #samples details:not([open]) .more::after { content: "unfold"; }
#more { font: inherit; color: var(--text); background: var(--box); border: 1px solid var(--soft); border-radius: 4px; 
  padding: .4rem 1.5rem; }
#more[hidden] { display: none; }
@media (max-width: 46rem) {
  #samples, #samples tbody, #samples tr, #samples td, #samples th { display: block; width: auto; text-align: left; border: 0; padding: 0; }
  #samples thead, #samples colgroup { display: none; }
  #samples tr { border: 1px solid var(--line); border-radius: 4px; padding: .5rem .75rem; margin-bottom: .75rem; }
  #samples [data-name]::before { content: attr(data-name) ": "; color: var(--soft); font-weight: 400; }
  #samples .words { margin: .25rem 0; } #samples .soft { display: inline; }
}
"""

SCRIPT = """
"use strict";
{
  const table = document.getElementById("samples"), tools = document.getElementById("tools");
  const rows = [...table.tBodies[0].rows];
  const plain = text => text.toLowerCase().replace(/\\s+/g, " ").trim();
  const whole = cell => (cell.querySelector("details")?.lastChild ?? cell).textContent;
  const texts = rows.map(row => plain([...row.querySelectorAll(".words")].map(whole).join(" ")));
  const [search, step, run, order] = ["search", "step", "run", "order"].map(id => document.getElementById(id));
  const more = document.getElementById("more");
  let limit = AT_FIRST;
  const show = () => {
    const [key, sign] = order.value.split(" ");
    const found = rows.filter((row, i) => texts[i].includes(plain(search.value))
      && (!step.value || row.dataset.step === step.value) && (!run || !run.value || row.dataset.run === run.value));
    if (key) found.sort((a, b) => sign * (a.dataset[key] - b.dataset[key]));
    table.tBodies[0].replaceChildren(...found.slice(0, limit));
    document.getElementById("found").value = found.length + " of " + rows.length + " responses";
    more.hidden = found.length <= limit;
  };
  const anew = () => { limit = AT_FIRST; show(); };
  search.addEventListener("input", anew);
  [step, run, order].forEach(choice => choice && choice.addEventListener("change", anew));
  more.addEventListener("click", () => { limit *= 4; show(); });
  tools.hidden = false;
  show();
}
""".replace("AT_FIRST", str(AT_FIRST))

_ORDERS = {
    "": "step",
    "reward -1": "highest reward",
    "reward 1": "lowest reward",
    "length -1": "longest",
    "length 1": "shortest",
    "weight -1": "largest weight",
    "weight 1": "smallest weight",
}


def table(samples: Sequence[Sample]) -> Markup:
    runs = list(dict.fromkeys(sample.run for sample in samples))
    several = len(runs) > 1
    header = [*(["run"] if several else []), "step", "prompt", "label", "response", "reward", "tokens", "weight"]
    columns = Markup("").join(
        Markup('<col class="{}">').format("number" if name in ("reward", "tokens") else name) for name in header
    )
    head = Markup("").join(
        Markup('<th scope="col" class="{}">{}</th>').format("words" if name in WORDS else "", name) for name in header
    )
    body = Markup("\n").join(_row(sample, runs.index(sample.run), several) for sample in samples)
    return Markup(
        '{}\n<table id="samples">\n<colgroup>{}</colgroup>\n<thead><tr>{}</tr></thead>\n<tbody>\n{}\n</tbody>\n</table>\n'
        '<button id="more" hidden>more</button>'
    ).format(_tools(samples, runs), columns, head, body)


def _tools(samples: Sequence[Sample], runs: Sequence[str]) -> Markup:
    steps = {str(step): str(step) for step in sorted({sample.step for sample in samples})}
    chosen = [_choice("step", "Step", {"": "all"} | steps)]
    if len(runs) > 1:
        chosen.append(_choice("run", "Run", {"": "all"} | {str(i): run for i, run in enumerate(runs)}))
    chosen.append(_choice("order", "Order", _ORDERS))
    return Markup(
        '<div class="tools" id="tools" hidden>\n<label>Search '
        '<input type="search" id="search" placeholder="prompt, label, response"></label>\n{}\n'
        '<output id="found"></output>\n</div>'
    ).format(Markup("\n").join(chosen))


def _choice(name: str, label: str, options: dict[str, str]) -> Markup:
    listed = Markup("").join(Markup('<option value="{}">{}</option>').format(*option) for option in options.items())
    return Markup('<label>{} <select id="{}">{}</select></label>').format(label, name, listed)


def _row(sample: Sample, run: int, several: bool) -> Markup:
    weight = MISSING if sample.weight is None else number(sample.weight)
    relative = "" if sample.relative is None else f"{sample.relative:.2f} × mean"
    cells = [
        *([_cell("run", Markup("{}").format(sample.run))] if several else []),
        _cell("step", Markup("{}").format(sample.step)),
        _cell("prompt", _folded(sample.prompt), "words"),
        _cell("label", _folded(sample.label), "words"),
        _cell("response", Markup(MISSING) if sample.response is None else _folded(sample.response), "words"),
        _cell("reward", Markup("{}").format(number(sample.reward))),
        _cell("tokens", _with_note(f"{sample.length:,}", "cut off" if sample.truncated else "")),
        _cell("weight", _with_note(weight, relative)),
    ]
    return Markup('<tr data-run="{}" data-step="{}" data-reward="{}" data-length="{}" data-weight="{}">{}</tr>').format(
        run, sample.step, sample.reward, sample.length, sample.weight or 0, Markup("").join(cells)
    )


def _cell(name: str, content: Markup, kind: str = "") -> Markup:
    return Markup('<td data-name="{}" class="{}">{}</td>').format(name, kind, content)


def _with_note(text: str, note: str) -> Markup:
    return Markup('{} <span class="soft">{}</span>').format(text, note) if note else Markup("{}").format(text)


def _folded(text: str) -> Markup:
    if len(text) <= FOLDED:
        return Markup("{}").format(text)
    begin = text[:FOLDED].rstrip()
    return Markup(
        '<details><summary><span class="begin">{}… </span><span class="more"></span></summary>{}</details>'
    ).format(begin, text)
