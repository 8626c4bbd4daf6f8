"""Gold answers as structures: what kind of answer a text is, its parts, and whether two structures are equal.

`read` knows the formats that gold answers of the public math sets have; it is no general parser and is never given a model's text.
The parts are LaTeX expressions that latex_value.py computes. `equal` decides by these values, and by order only where order
counts: it is the check that every pair's label passes before it is written.
"""

import re
from typing import NamedTuple

from graded_pairs.latex_value import Unreadable, same, value

NUMBER = r"-?(?:\d+\.?\d*|\.\d+)"
UNORDERED = ("list", "set", "tuples")
SCALARS = ("integer", "decimal", "scientific", "fraction", "mixed", "expression")
BRACKETS = {"tuple": ("(", ")"), "set": (r"\{", r"\}"), "list": ("", "")}


class Answer(NamedTuple):
    """shape; parts: LaTeX expressions; before, after: brackets, the left side of an equation, a unit, a base."""

    shape: str
    parts: tuple[str, ...]
    before: str = ""
    after: str = ""


class Variant(NamedTuple):
    kind: str
    text: str
    claim: Answer | None
    """None: no answer at all, or a broken one."""


def read(text: str) -> Answer:
    """The structure of a gold answer; shape 'other' holds what is not known."""
    text = text.strip().strip("$").strip()
    for pattern, make in PATTERNS:
        if match := re.fullmatch(pattern, text):
            if (answer := make(match)) is not None and _readable(answer):
                return answer
    answer = _compound(text)
    return answer if answer is not None and _readable(answer) else Answer("other", (text,))


def equal(a: Answer, b: Answer) -> bool:
    """Same shape, and parts of equal value: in order, or as sets for lists and sets. Units and names on the left do not count."""
    if a.shape in ("choice", "text", "other") or b.shape in ("choice", "text", "other"):
        return a.shape == b.shape and a.parts == b.parts
    if a.shape in SCALARS and b.shape in SCALARS:
        return same(scalar(a), scalar(b))
    if a.shape == "tuples" and b.shape == "tuples":
        return _same_sets([read(part) for part in a.parts], [read(part) for part in b.parts], equal)
    if a.shape != b.shape or len(a.parts) != len(b.parts) and a.shape not in UNORDERED:
        return False
    if a.shape in ("interval", "union", "matrix", "inequality", "based") and (a.before, a.after) != (b.before, b.after):
        return False
    if a.shape in UNORDERED:
        return _same_sets(a.parts, b.parts, _same_parts)
    if a.shape == "plus_minus":
        return same(a.parts[0], b.parts[0]) and (same(a.parts[1], b.parts[1]) or same(a.parts[1], f"-({b.parts[1]})"))
    return all(_same_parts(x, y) for x, y in zip(a.parts, b.parts, strict=True))


def render(answer: Answer) -> str:
    """LaTeX for a structure, in the plainest style."""
    parts = answer.parts
    match answer.shape:
        case "fraction" | "scientific" | "integer" | "decimal" | "expression":
            return scalar(answer) if answer.shape != "scientific" else rf"{parts[0]} \times 10^{{{parts[1]}}}"
        case "mixed":
            return rf"{parts[0]}\frac{{{parts[1]}}}{{{parts[2]}}}"
        case "tuple" | "set" | "list":
            return BRACKETS[answer.shape][0] + ", ".join(parts) + BRACKETS[answer.shape][1]
        case "tuples":
            return ", ".join(parts)
        case "interval" | "union":
            ends = zip(answer.before if answer.shape == "union" else answer.before + answer.after, parts, strict=True)
            texts = [end + part if end in "([" else part + end for end, part in ends]
            return r" \cup ".join(f"{a}, {b}" for a, b in zip(texts[::2], texts[1::2], strict=True))
        case "matrix":
            n = int(answer.after)
            rows = [" & ".join(parts[i : i + n]) for i in range(0, len(parts), n)]
            return r"\begin{pmatrix} " + r" \\ ".join(rows) + r" \end{pmatrix}"
        case "equation":
            return f"{answer.before} = {parts[0]}"
        case "inequality":
            return f"{answer.before} {answer.after} {parts[0]}"
        case "plus_minus":
            return rf"{parts[0]} \pm {parts[1]}"
        case "degrees":
            return rf"{parts[0]}^\circ"
        case "percent":
            return rf"{parts[0]}\%"
        case "money":
            return rf"\${parts[0]}"
        case "unit":
            return rf"{parts[0]} \text{{ {answer.after.removesuffix('^2')}}}" + (
                "^2" if answer.after.endswith("^2") else ""
            )
        case "ratio":
            return f"{parts[0]}:{parts[1]}"
        case "based":
            return f"{parts[0]}_{{{answer.after}}}"
        case "choice":
            return f"({parts[0]})"
        case "text":
            return rf"\text{{{parts[0]}}}"
    return parts[0]


def bare(answer: Answer) -> Answer:
    if answer.shape in ("equation", "degrees", "percent", "money", "unit"):
        return Answer("expression", answer.parts)
    if answer.shape == "set":
        return Answer("list", answer.parts)
    return answer


def scalar(answer: Answer) -> str:
    """One expression for a scalar shape."""
    if answer.shape == "mixed":
        whole, above, below = answer.parts
        sign = "-" if whole.startswith("-") else "+"
        return rf"{whole}{sign}\frac{{{above}}}{{{below}}}"
    if answer.shape == "scientific":
        return rf"{answer.parts[0]}\cdot10^{{{answer.parts[1]}}}"
    return rf"\frac{{{answer.parts[0]}}}{{{answer.parts[1]}}}" if answer.shape == "fraction" else answer.parts[0]


def split_top(text: str, separators: str = ",") -> list[str]:
    """Split at separators outside all brackets."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if char in separators and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    return [*parts, text[start:].strip()]


def terms_of(leaf: str) -> list[str]:
    """The signed terms of a top-level sum."""
    depth, start, terms = 0, 0, []
    for at, char in enumerate(leaf):
        depth += (char in "([{|") - (char in ")]}")
        if char in "+-" and depth == 0 and at > 0 and leaf[at - 1] not in "^_({" and leaf[start:at].strip():
            terms.append(leaf[start:at].strip())
            start = at
    return [*terms, leaf[start:].strip()]


def negated(term: str) -> str:
    return term[1:].strip() if term.startswith("-") else "-" + term.lstrip("+ ")


def summed(terms: list[str]) -> str:
    first, *rest = terms
    joined = "".join(f" {t[0]} {t[1:].strip()}" if t[0] in "+-" else f" + {t}" for t in rest)
    return first.lstrip("+ ") + joined


def _same_sets(a, b, same_part) -> bool:
    return all(any(same_part(x, y) for y in b) for x in a) and all(any(same_part(x, y) for x in a) for y in b)


def _same_parts(a: str, b: str) -> bool:
    if "\\infty" in a or "\\infty" in b:
        return a.replace("+", "").replace(" ", "") == b.replace("+", "").replace(" ", "")
    return same(a, b)


def _readable(answer: Answer) -> bool:
    if answer.shape in ("choice", "text", "tuples"):
        return True
    try:
        for part in answer.parts:
            if not (answer.shape in ("interval", "union") and "\\infty" in part):
                value(part)
    except Unreadable:
        return False
    return True


def _fraction(match: re.Match) -> Answer:
    return Answer("fraction", (match[1] + match[2], match[3]))


PATTERNS = [
    (r"(?:\\text(?:bf)?\{)?\(([A-E])\)\}?", lambda m: Answer("choice", (m[1],))),
    (r"\\text\{([A-Za-z ]+)\}", lambda m: Answer("text", (m[1],))),
    (r"-?\d+", lambda m: Answer("integer", (m[0],))),
    (r"\d{1,3}(?:,(?:\\!)? ?\d{3})+", lambda m: Answer("integer", (re.sub(r"\D", "", m[0]),))),
    (r"-?\d*\.\d+", lambda m: Answer("decimal", (m[0],))),
    (rf"({NUMBER})\s*\\times\s*10\^\{{?(-?\d+)\}}?", lambda m: Answer("scientific", (m[1], m[2]))),
    (rf"({NUMBER})[eE]([-+]?\d+)", lambda m: Answer("scientific", (m[1], str(int(m[2]))))),
    (r"(-?)\\[dtc]?frac\s*\{?(-?\d+?)\}?\s*\{?(\d+)\}?", _fraction),
    (r"(-?)(\d+)/(\d+)", _fraction),
    (r"(-?\d+)\s*\\[dt]?frac\s*\{?(\d+?)\}?\{?(\d+)\}?", lambda m: Answer("mixed", (m[1], m[2], m[3]))),
    (r"(-?\d+) (\d+)/(\d+)", lambda m: Answer("mixed", (m[1], m[2], m[3]))),
    (r"(\d+)\s*:\s*(\d+)", lambda m: Answer("ratio", (m[1], m[2]))),
    (r"(\d+)_\{?(\d+)\}?", lambda m: Answer("based", (m[1],), after=m[2])),
    (rf"({NUMBER})\s*\^\{{?\\circ\}}?", lambda m: Answer("degrees", (m[1],))),
    (rf"({NUMBER})\s*\\?%", lambda m: Answer("percent", (m[1],))),
    (r"\\\$((?:\d|,\\?!?)+(?:\.\d\d)?)", lambda m: Answer("money", (re.sub(r"[^\d.]", "", m[1]),))),
    (
        rf"({NUMBER}(?:\\pi)?|\\frac\{{?\d+\}}?\{{?\d\}}?)\s*(?:\\,)?\s*\\(?:text|mbox)\{{ ?([a-z]+)\}}((?:\^2)?)",
        lambda m: Answer("unit", (m[1],), after=m[2] + m[3]),
    ),
    (r"\\begin\{pmatrix\}(.*)\\end\{pmatrix\}", lambda m: _matrix(m[1])),
    (r"([a-zA-Z]|\\[a-z]+|[a-zA-Z]\([a-z]\))\s*=([^=]*)", lambda m: Answer("equation", (m[2].strip(),), before=m[1])),
    (
        r"([a-z])\s*(\\geq?|\\leq?|<|>)(?![a-z])([^=<>\\]*)",
        lambda m: Answer("inequality", (m[3].strip(),), m[1], m[2][:3]),
    ),
    (r"([^\\]*)\\pm(.*)", lambda m: Answer("plus_minus", (m[1].strip(), m[2].strip()))),
]


def _matrix(inside: str) -> Answer:
    rows = [row.split("&") for row in inside.split("\\\\")]
    return Answer("matrix", tuple(cell.strip() for row in rows for cell in row), after=str(len(rows[0])))


def _compound(text: str) -> Answer | None:
    text = re.sub(r"\\left|\\right|\\quad", "", text).replace("$", "").strip()
    if not text:
        return None
    if match := re.fullmatch(r"([a-z])\s*\\in\s*(.*)", text):
        text = match[2]
    if "\\cup" in text:
        pieces = [_interval(piece.strip()) for piece in text.split("\\cup")]
        if all(pieces):
            brackets = "".join(piece.before + piece.after for piece in pieces)
            return Answer("union", tuple(part for piece in pieces for part in piece.parts), brackets)
        return None
    if text.startswith("\\{") and text.endswith("\\}"):
        return Answer("set", tuple(split_top(text[2:-2])))
    pieces = split_top(re.sub(r"\\text\{ (?:and|or) \}", ",", text))
    if len(pieces) > 1:
        if all(re.fullmatch(r"\(.*\)", piece) and len(split_top(piece[1:-1])) > 1 for piece in pieces):
            return Answer("tuples", tuple(pieces))
        return Answer("list" if len(set(pieces)) == len(pieces) else "other", tuple(pieces))
    if text[:1] in "([" and text[-1:] in ")]":
        # (1, 2) alone may be a point: an interval has a closed or an infinite end.
        if (text[0] == "[" or text[-1] == "]" or "\\infty" in text) and (interval := _interval(text)):
            return interval
        parts = split_top(text[1:-1])
        if text[0] == "(" and text[-1] == ")" and len(parts) > 1:
            return Answer("tuple", tuple(parts))
    return Answer("expression", (text,))


def _interval(text: str) -> Answer | None:
    if not (text[:1] in "([" and text[-1:] in ")]"):
        return None
    parts = split_top(text[1:-1])
    if len(parts) == 2:
        return Answer("interval", tuple(parts), text[0], text[-1])
    return None
