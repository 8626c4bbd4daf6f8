"""What the model answered before and after the training, for a person and as rows of a file."""

from collections.abc import Mapping, Sequence
from typing import Any

from deltal_openrlhf.data.countdown import Problem
from deltal_openrlhf.quickstart.kinds import Kind

WIDTH = 160
"""Characters of a response that are shown."""


def rows(
    kind: Kind, problems: Sequence[Problem], before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """One a problem: question, label, and of the first response before and after its text and whether it is right.

    before, after: what evaluate() returned.
    """
    return [
        {"question": _question(kind, problem), "label": kind.label(*problem)}
        | {when: of["first"][i] for when, of in (("before", before), ("after", after))}
        | {f"{when}_is_right": bool(of["correct"][i][0]) for when, of in (("before", before), ("after", after))}
        for i, problem in enumerate(problems)
    ]


def shown(row: Mapping[str, Any]) -> str:
    """A row for the console. Line breaks become semicolons."""
    lines = [row["question"]]
    for when in ("before", "after"):
        text = "; ".join(row[when].splitlines())
        verdict = "right" if row[f"{when}_is_right"] else "wrong"
        lines.append(f"  {when + ', ' + verdict:<14}  {text if len(text) <= WIDTH else text[: WIDTH - 3] + '...'}")
    return "\n".join(lines)


def _question(kind: Kind, problem: Problem) -> str:
    prompt = kind.prompt(*problem)
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]
