r"""Multiples and sums of vectors: \frac15(3, 4), (1, 2) + t(3, 4), \begin{pmatrix}1\\2\end{pmatrix} + t\begin{pmatrix}3\\4\end{pmatrix}."""

import re
from itertools import pairwise

from deltal_openrlhf.grading.parts.matrices import matrix, terms
from deltal_openrlhf.grading.parts.structure import Group, group

_ROOT = r"\\sqrt\s?(?:\{[\d.]+\}|\d)"
_NUMBER = rf"(?:\\frac\s?(?:\{{[^{{}}a-zA-Z\\]{{0,20}}(?:{_ROOT})?\}}|\d){{2}}|{_ROOT}|\\pi|[\d.]+(?:/\d+)?|\(-?[\d.]+(?:/\d+)?\))"
_FACTOR = re.compile(
    rf"[-+]?\s?(?:{_NUMBER}\s?\*?\s?){{0,2}}(?P<parameter>(?:[strkuv]|\\(?:lambda|mu)(?![a-z]))\s?\*?)?\s?"
)
_DIVIDED = re.compile(r"\)\s?/\s?(\d{1,9}|\\sqrt\s?\{?\d{1,9}\}?)$")
_END = re.compile(r"\\end\{[a-z]*matrix\}\s*(?=[-+])")
_MOST_TERMS = 4


def combined(text: str) -> Group | None:
    """The vector that a number times a vector, or a sum of vectors, is; None for anything else. A letter is a factor in a sum only."""
    if not ("(" in text and "," in text or "matrix" in text):
        return None
    parts = _of_matrices(text) if r"\begin{" in text else terms(text)
    if len(parts) > _MOST_TERMS:
        return None
    vectors = [_multiple(part, len(parts) > 1) for part in parts]
    found = [vector for vector in vectors if vector]
    if len(found) < len(vectors) or len({(vector.kind, len(vector.parts)) for vector in found}) > 1:
        return None
    return Group(found[0].kind, ["+".join(cells) for cells in zip(*(vector.parts for vector in found), strict=True)])


def _of_matrices(text: str) -> list[str]:
    starts = [0, *(end.end() for end in _END.finditer(text)), len(text)]
    return [text[start:end].strip() for start, end in pairwise(starts)]


def _multiple(text: str, in_sum: bool) -> Group | None:
    if r"\begin{" in text:
        return matrix(text.removeprefix("+").strip())
    divided = _DIVIDED.search(text)
    under = ""
    if divided:
        text, under = text[: divided.start() + 1], f"/({divided[1]})"
    start = text.find("(")
    if text[:start].strip() == "" and not divided and not in_sum:
        return None
    factor = _FACTOR.match(text)
    if not factor or factor["parameter"] and not in_sum:
        return None
    vector = group(text[factor.end() :])
    if vector is None or vector.kind != "()":
        return None
    scale = factor[0].strip().removesuffix("*").strip()
    scale = f"{scale}1" if scale in ("", "+", "-") else scale
    return Group("()", [f"({scale})*({part}){under}" for part in vector.parts])
