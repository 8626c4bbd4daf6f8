"""Answers of several parts, taken apart: lists, sets, tuples, intervals, matrices. Normalised text in, parts out; nothing is compared."""

import re
from typing import NamedTuple

from deltal_openrlhf.grading.extract import closing_braces

_OPEN, _CLOSE = "([{", ")]}"
_AND = re.compile(
    r"\\text\{\s*,?\s*(?:and|or)\s*\}|(?<![a-zA-Z\\])(?:and|or)(?![a-zA-Z])|\\(?:wedge|vee)(?![a-zA-Z])|;"
)
_MATRIX = re.compile(r"\\begin\{([a-z]*matrix|array)\}(?:\{[clr| ]*\})?((?:(?!\\begin).)*)\\end\{\1\}", re.DOTALL)


class Group(NamedTuple):
    """Parts in an order that counts. kind: the two brackets, or a matrix's shape."""

    kind: str
    parts: list[str]


def split(text: str, separator: str) -> list[str]:
    """text at each separator that no bracket encloses. (0, 1] is balanced: an interval's brackets need not match."""
    if separator not in text:
        return [text]
    parts: list[str] = []
    depth, start, position = 0, 0, 0
    while position < len(text):
        if depth == 0 and text.startswith(separator, position):
            parts.append(text[start:position].strip())
            position += len(separator)
            start = position
            continue
        if text[position] in _OPEN:
            depth += 1
        elif text[position] in _CLOSE:
            depth = max(0, depth - 1)
        position += 1
    parts.append(text[start:].strip())
    return parts


def elements(text: str) -> list[str] | None:
    r"""The elements of a list or set, whose order does not count: "1, 2", "1 and 2", {1, 2}, a \pm b. None for a single answer."""
    if text.startswith(r"\{") and text.endswith(r"\}") and not re.search("[|:]", text) and _is_one_set(text):
        return _list(text[2:-2].strip())
    if text.startswith("{") and closing_braces(text).get(0) == len(text) - 1:
        text = text[1:-1].strip()
    parts = _list(text)
    return parts if len(parts) > 1 else None


def _list(text: str) -> list[str]:
    parts: list[str] = []
    for part in split(_AND.sub(",", text), ","):
        parts.extend([part.replace(r"\pm", "+"), part.replace(r"\pm", "-")] if part.count(r"\pm") == 1 else [part])
    return _without_repeated_name([part for part in parts if part])


def _without_repeated_name(parts: list[str]) -> list[str]:
    """x = 1, x = 2 -> 1, 2, and x = 1, 2 -> 1, 2; a = 1, b = 2 stays."""
    if len(parts) < 2 or "=" not in parts[0]:
        return parts
    sides = [split(part, "=") for part in parts]
    named = [side for side in sides if len(side) == 2]
    one_name = len({side[0] for side in named}) == 1 and len(sides[0]) == 2
    return [side[-1] for side in sides] if one_name and len(named) in (1, len(parts)) else parts


def _is_one_set(text: str) -> bool:
    r"""Whether the \{ that opens the text is closed by the \} that ends it."""
    depth = 0
    for match in re.finditer(r"\\[{}]", text):
        depth += 1 if match[0] == r"\{" else -1
        if depth == 0:
            return match.end() == len(text)
    return False


def group(text: str) -> Group | None:
    """A tuple, a vector or an interval."""
    if len(text) < 3 or text[0] not in "([" or text[-1] not in ")]" or "," not in text:
        return None
    depth = 0
    for position, character in enumerate(text):
        depth += (character in _OPEN) - (character in _CLOSE)
        if depth == 0 and position < len(text) - 1:
            return None
    return Group(text[0] + text[-1], split(text[1:-1], ","))


def matrix(text: str) -> Group | None:
    """A matrix, row by row, whatever its brackets."""
    if text[:1] in ("(", "[") and text[-1:] in (")", "]") and text[1:].lstrip().startswith(r"\begin{"):
        text = text[1:-1].strip()
    match = _MATRIX.fullmatch(text)
    if match is None:
        return None
    kind = match[1] if "v" in match[1].lower() else "matrix"  # a determinant is no matrix
    rows = [row.split("&") for row in match[2].strip().removesuffix(r"\\").split(r"\\")]
    return Group(f"{kind} {[len(row) for row in rows]}", [cell.strip() for row in rows for cell in row])
