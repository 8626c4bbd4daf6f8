"""The texts for a reader: the tables of results.json (report.md) and a few unchanged responses (samples.md)."""

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deltal_openrlhf.evaluation.estimates import OVER_PROBLEMS, OVER_SETS
from deltal_openrlhf.evaluation.problems import Problem
from deltal_openrlhf.evaluation.prompts import Prompt
from deltal_openrlhf.evaluation.store import Record
from deltal_openrlhf.reports.numbers import columns
from deltal_openrlhf.statistics.bootstrap import LEVEL, RESAMPLES

OF_EACH_KIND = 3
"""The number of correct responses, and of wrong ones, that are shown of each set."""

SHOWN_CHARS = 4000
"""The number of characters that are shown of a longer text, half from its beginning and half from its end."""

METHOD = (
    f"Intervals: {LEVEL} % percentile bootstrap over problems, {RESAMPLES:,} resamples, each set resampled on its own."
)

ALL_ALIKE = (
    "An interval of width zero means that all problems of that set came out alike. The bootstrap sees no variance there, but there may be "
    "some."
)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that it is readable on a console too. The first column is aligned left, the others right.

    A cell may hold any text: "|" is escaped, and a line break becomes a space.
    """
    cells = columns([[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in (header, *rows)])
    first, *others = ("-" * (len(cell) + 1) for cell in cells[0])
    head, *body = (f"| {' | '.join(row)} |" for row in cells)
    return "\n".join([head, f"|{first}-|{''.join(f'{other}:|' for other in others)}", *body])


def estimate_text(estimate: Mapping[str, float], sign: str = "") -> str:
    """Write an estimate as 0.250 [0.210, 0.290]. sign "+": always with its sign."""
    return f"{estimate['value']:{sign}.3f} [{estimate['low']:{sign}.3f}, {estimate['high']:{sign}.3f}]"


def method(estimates: Iterable[Mapping[str, float]]) -> str:
    """How the intervals are made. If one of `estimates` has no width, the text explains it."""
    no_width = any(estimate["low"] == estimate["high"] for estimate in estimates)
    return METHOD + (f"\n{ALL_ALIKE}" if no_width else "")


def with_overall(found: Mapping[str, Any]) -> dict[str, Any]:
    """The sets of results or of a comparison. After several sets follow the two means over all of them."""
    sets, overall = dict(found["sets"]), found["overall"]
    if len(sets) > 1:
        sets |= {OVER_PROBLEMS: overall["mean_over_problems"], OVER_SETS: overall["mean_over_sets"]}
    return sets


def tables(results: Mapping[str, Any]) -> str:
    """The tables of accuracy, and of lengths and statuses. results: see results.results."""
    n, sets, overall = results["n"], results["sets"], results["overall"]
    # Pass@1 is Avg@n; it stands in results.json only.
    ks = [k for k in next(iter(sets.values()))["pass"] if k != "1"]

    def accuracy(name: str, values: Mapping[str, Any]) -> list[str]:
        problems = str(values.get("problems", overall["problems"]))
        return [name, problems, estimate_text(values["avg"]), *(estimate_text(values["pass"][k]) for k in ks)]

    def responses(name: str, values: Mapping[str, Any]) -> list[str]:
        length = values["length"]
        lengths = [f"{length[key]:.0f}" for key in ("mean", "p5", "p50", "p95", "max")]
        statuses = map(str, values["statuses"].values())
        return [name, str(values["responses"]), *lengths, f"{values['truncated']:.1%}", *statuses]

    accuracies = [accuracy(name, values) for name, values in with_overall(results).items()]
    described = [responses(name, values) for name, values in sets.items()]
    if len(sets) > 1:
        described.append(responses("all", overall))
    statuses = list(overall["statuses"])
    said = method(value for values in sets.values() for value in (values["avg"], *values["pass"].values()))
    return "\n\n".join(
        [
            table(["set", "problems", f"Avg@{n}", *(f"Pass@{k}" for k in ks)], accuracies),
            table(["set", "responses", "mean length", "p5", "p50", "p95", "max", "truncated", *statuses], described),
            "Lengths in tokens, the end token included; truncated: cut off by the length limit.\n" + said,
        ]
    )


def samples(
    problems: Sequence[Problem],
    prompts: Sequence[Prompt],
    records: Mapping[tuple[str, int, int], Record],
    seed: int,
) -> str:
    """Up to OF_EACH_KIND correct and as many wrong responses of each set, drawn by `seed`, as Markdown."""
    found = {
        (problem.set, problem.position): (problem, prompt) for problem, prompt in zip(problems, prompts, strict=True)
    }
    parts = ["# Sample responses\n\nDrawn at random; responses.jsonl has all of them.\n"]
    for name in dict.fromkeys(problem.set for problem in problems):
        for correct, kind in ((True, "correct"), (False, "wrong")):
            # Sorted: the order in which responses finished must not decide.
            of_kind = sorted(key for key, record in records.items() if key[0] == name and record.correct is correct)
            drawn = random.Random(f"{seed} {name} {kind}").sample(of_kind, min(OF_EACH_KIND, len(of_kind)))
            parts.append(f"## {name}: {kind} ({len(of_kind)} of them)\n")
            parts += [_sample(*found[key[:2]], records[key]) for key in sorted(drawn)]
    return "\n".join(parts)


def _sample(problem: Problem, prompt: Prompt, record: Record) -> str:
    cut = ", cut off" if record.finish_reason == "length" else ""
    return "\n".join(
        [
            f"### {record.set}, problem {record.position}, response {record.sample}: {record.status}\n",
            f"Prompt:\n\n{_fenced(prompt.text)}\n",
            f"Response ({record.tokens} tokens{cut}):\n\n{_fenced(record.response)}\n",
            f"Answer: {_inline(record.answer)}  \nGold: {_inline(problem.label)}\n",
        ]
    )


def _inline(answer: str | None) -> str:
    return "none found" if answer is None else f"`{' '.join(_readable(answer).split())}`"


def _fenced(text: str) -> str:
    """The text as a block of code that nothing inside it can end."""
    text = _readable(text)
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"


def _readable(text: str) -> str:
    """The text with its middle left out if it is long, and with control characters spelled out."""
    if len(text) > SHOWN_CHARS:
        half = SHOWN_CHARS // 2
        text = f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)
