"""Answers of several parts, taken apart: lists, sets, tuples and intervals. Normalised text in, parts out; nothing is compared."""

import re
from typing import NamedTuple

from deltal_openrlhf.grading.reading.denials import NO_NAME
from deltal_openrlhf.grading.reading.extract import closing_braces

_OPEN, _CLOSE = "([{", ")]}"
_BRACKET = re.compile(r"[()\[\]{}]")
OR = r"\\text\{\s*,?\s*or\s*\}|(?<![a-zA-Z\\])or(?![a-zA-Z])|\\(?:vee|lor)(?![a-zA-Z])"
AND = r"\\text\{\s*,?\s*and\s*\}|(?<![a-zA-Z\\])and(?![a-zA-Z])|\\(?:wedge|land)(?![a-zA-Z])|;"
_OR_AND = re.compile(f"{OR}|{AND}")
_UNSOLVED = re.compile(
    r"^[-+\d]|\^|\\(?:frac|sqrt|log|ln|sin|cos|tan)(?![a-zA-Z])|^\|[a-z]\|" + rf"|(?i:\b(?:{NO_NAME})\b)"
)
r"""In the left side of an equation that does not give a value: 4y = \pm 3x, not x = 1."""
_SPACES = re.compile(r"(?<!\d)\s+|\s+(?!\d)")
_MEMBERS_ONLY = re.compile(r"[^|:]*")


class Group(NamedTuple):
    """Parts in an order that counts. kind: the two brackets, or a matrix's shape."""

    kind: str
    parts: list[str]


def compact(text: str) -> str:
    """Without spaces, but for those between digits: 1 2 is not 12."""
    return _SPACES.sub("", text) if " " in text else text


def split(text: str, separator: str) -> list[str]:
    """text at each separator that no bracket encloses. (0, 1] is balanced: an interval's brackets need not match."""
    if separator not in text:
        return [text]
    return split_at(text, re.compile(re.escape(separator)))[0]


def split_at(text: str, separator: re.Pattern[str]) -> tuple[list[str], list[str]]:
    """The parts of text between the separators that no bracket encloses, and those separators."""
    parts: list[str] = []
    separators: list[str] = []
    depth = start = seen = 0
    for match in separator.finditer(text):
        for bracket in _BRACKET.finditer(text, seen, match.start()):
            depth = depth + 1 if bracket[0] in _OPEN else max(0, depth - 1)
        seen = match.end()
        if depth == 0:
            parts.append(text[start : match.start()].strip())
            separators.append(match[0])
            start = match.end()
    return [*parts, text[start:].strip()], separators


def elements(text: str) -> list[str] | None:
    r"""The elements of a list or set, whose order does not count: "1, 2", "1 and 2", {1, 2}, a \pm b. None for a single answer."""
    inner = braced_set(text)
    if inner == r"\emptyset":
        return None  # the set that holds the empty set
    if inner is not None and _MEMBERS_ONLY.fullmatch(inner):
        return list({compact(member): member for member in _list(inner)}.values())
    if text.startswith("{") and closing_braces(text).get(0) == len(text) - 1:
        text = text[1:-1].strip()
    parts = _list(text)
    return parts if len(parts) > 1 else None


def equations(text: str) -> list[str]:
    r"""Those that a list holds, with their left sides: of y = \pm 2x, y = 2x and y = -2x. Empty where one part is no equation."""
    parts = _parts(text)
    return parts if all("=" in part for part in parts) else []


def _list(text: str) -> list[str]:
    return _without_repeated_name(_parts(text))


def _parts(text: str) -> list[str]:
    parts: list[str] = []
    for part in split(_OR_AND.sub(",", text), ","):
        parts.extend(both_signs(part))
    return [part for part in parts if part]


def both_signs(text: str) -> list[str]:
    r"""a \pm b as a+b and a-b; \mp has the other sign, and a second \pm is free of the first."""
    count = text.count(r"\pm")
    if count == 2 and r"\mp" not in text:
        return [both for one in ("+", "-") for both in both_signs(text.replace(r"\pm", one, 1))]
    if count != 1:
        return [text]
    return [text.replace(r"\pm", sign).replace(r"\mp", other) for sign, other in ("+-", "-+")]


def _without_repeated_name(parts: list[str]) -> list[str]:
    """x = 1, x = 2 -> 1, 2, and x = 1, 2 -> 1, 2; a = 1, b = 2 stays."""
    if len(parts) < 2 or "=" not in parts[0]:
        return parts
    sides = [split(part, "=") for part in parts]
    named = [side for side in sides if len(side) == 2]
    one_name = len({side[0] for side in named}) == 1 and len(sides[0]) == 2 and not _UNSOLVED.search(sides[0][0])
    return [side[-1] for side in sides] if one_name and len(named) in (1, len(parts)) else parts


def braced_set(text: str) -> str | None:
    r"""What stands between the \{ that opens the text and the \} that ends it and closes the same set."""
    if not (text.startswith(r"\{") and text.endswith(r"\}")):
        return None
    depth = 0
    for match in re.finditer(r"\\[{}]", text):
        depth += 1 if match[0] == r"\{" else -1
        if depth == 0:
            return text[2:-2].strip() if match.end() == len(text) else None
    return None


def union(text: str) -> list[str]:
    r"""The parts of a union, finite sets taken apart: \{1, 3\} \cup \{2, 3\} holds 1, 3 and 2."""
    parts: dict[str, str] = {}
    for part in split(text, r"\cup"):
        for member in (elements(part) or [part]) if braced_set(part) else [part]:
            parts.setdefault(compact(member), member)
    return list(parts.values())


def group(text: str) -> Group | None:
    """A tuple, a vector or an interval."""
    if len(text) < 3 or text[0] not in "([" or text[-1] not in ")]" or "," not in text:
        return None
    depth = 0
    for match in _BRACKET.finditer(text):
        depth += 1 if match[0] in _OPEN else -1
        if depth == 0 and match.end() < len(text):
            return None
    parts = split(text[1:-1], ",")
    return Group(text[0] + text[-1], parts) if len(parts) > 1 else None
