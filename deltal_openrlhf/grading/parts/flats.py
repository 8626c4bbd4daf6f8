r"""Lines and planes given by parameters: \{(t, 2t) : t \in \mathbb{R}\} is the span of (1, 2), and that of (2, 4)."""

import re
from fractions import Fraction
from typing import NamedTuple

from deltal_openrlhf.grading.parts.domains import stated
from deltal_openrlhf.grading.parts.matrices import matrix
from deltal_openrlhf.grading.parts.names import is_name
from deltal_openrlhf.grading.parts.structure import elements, group, split
from deltal_openrlhf.grading.parts.vectors import combined
from deltal_openrlhf.grading.values.arithmetic import Undecided
from deltal_openrlhf.grading.values.expressions import Expression

_SPAN = re.compile(r"\\?(?:text\s?\{\s?)?[sS]pan\s?\}?\s?(?P<set>\\\{.*\\\}|\(.*\))")
_VECTOR = re.compile(r"\\(?:vec|overrightarrow)\s?\{?\s?[a-zA-Z]\s?\}?")
_CALLED = re.compile(r"[^(].*\(.*\)")
r"""\vec{r}(t), where a line is passed through in time: another pace is another function."""
_PARAMETERS = {"s", "t", "r", "u", "v", "k", "a", "b", "c", "lambda", "mu"}
_POINTS = ((2, 3, 5), (-7, 11, -13))
_MOST_CELLS = 8

_Vector = list[Fraction]


class Flat(NamedTuple):
    """point + all multiples of the directions. is_said: whether the text says that each parameter is any real number."""

    name: str
    point: _Vector
    directions: list[_Vector]
    is_said: bool


def same_flat(gold: str, pred: str) -> bool | None:
    """Whether two lines or planes are the same; None where one is none, or does not say that its letters are parameters."""
    if not (_may_be_flat(gold) and _may_be_flat(pred)):
        return None
    flats = _flat(gold), _flat(pred)
    one, other = flats
    if one is None or other is None or not (one.is_said or other.is_said):
        return None
    if not (one.is_said and other.is_said or one.name and other.name):
        return None
    if one.name and other.name and one.name != other.name or len(one.point) != len(other.point):
        return False
    between = [a - b for a, b in zip(one.point, other.point, strict=True)]
    ranks = {
        _rank(vectors) for vectors in (one.directions, other.directions, [*one.directions, *other.directions, between])
    }
    return len(ranks) == 1


def _may_be_flat(text: str) -> bool:
    has_vector = "(" in text and "," in text or "matrix" in text
    return "pan" in text or has_vector and ("=" in text or "+" in text or r"\in" in text or "real" in text)


def _flat(text: str) -> Flat | None:
    span = _SPAN.fullmatch(text)
    if span:
        inner = span["set"]
        vectors = elements(inner if inner[0] == "\\" else inner[1:-1]) or [inner.strip("\\{}").strip()]
        found = [_constant(_cells(vector)) for vector in vectors]
        directions = [vector for vector in found if vector]
        if len(directions) < len(found) or len({len(vector) for vector in directions}) > 1:
            return None
        return Flat("", [Fraction(0)] * len(directions[0]), directions, True)
    said = stated(text)
    name, _, value = said.body.rpartition("=")
    if _CALLED.fullmatch(name.strip()):
        return None
    if name and (len(split(said.body, "=")) != 2 or not (is_name(name.strip()) or _VECTOR.fullmatch(name.strip()))):
        return None
    tuple_of_names = name.strip() if name.strip().startswith("(") else ""
    cells = _cells(value.strip())
    found_in = _affine(cells) if cells else None
    if found_in is None:
        return None
    names, point, directions = found_in
    domains = {letter.lstrip("\\") for letter, domain in said.domains.items() if domain == "R"}
    if set(said.domains.values()) - {"R"} or not names <= _PARAMETERS:
        return None
    is_said = names <= domains or group(value.strip()) is None and matrix(value.strip()) is None
    return Flat(tuple_of_names.replace(" ", ""), point, directions, is_said and bool(names))


def _cells(text: str) -> list[str] | None:
    vector = group(text) or matrix(text) or combined(text)
    return vector.parts if vector and vector.kind[0] in "(m" and len(vector.parts) <= _MOST_CELLS else None


def _constant(cells: list[str] | None) -> _Vector | None:
    found = _affine(cells) if cells else None
    return found[1] if found and not found[0] else None


def _affine(cells: list[str]) -> tuple[set[str], _Vector, list[_Vector]] | None:
    """(parameters, point, a direction for each); None where a cell is not linear, or not rational."""
    try:
        expressions = [Expression(cell) for cell in cells]
        names = sorted(set().union(*(expression.variables for expression in expressions)))
        if len(names) > 3:
            return None
        origin = _at(expressions, dict.fromkeys(names, Fraction(0)))
        directions = []
        for name in names:
            ahead = _at(expressions, {other: Fraction(other == name) for other in names})
            directions.append([b - a for a, b in zip(origin, ahead, strict=True)])
        for values in _POINTS:
            point = {name: Fraction(value) for name, value in zip(names, values, strict=False)}
            expected = [
                start + sum(point[name] * direction[i] for name, direction in zip(names, directions, strict=True))
                for i, start in enumerate(origin)
            ]
            if _at(expressions, point) != expected:
                return None
    except (Undecided, RecursionError):
        return None
    return set(names), origin, directions


def _at(expressions: list[Expression], point: dict[str, Fraction]) -> _Vector:
    values = [expression.at(point) for expression in expressions]
    exact = [value for value in values if isinstance(value, Fraction)]
    if len(exact) < len(values):
        raise Undecided
    return exact


def _rank(vectors: list[_Vector]) -> int:
    """By Gauss's elimination."""
    rows = [list(vector) for vector in vectors]
    rank = 0
    for column in range(len(rows[0]) if rows else 0):
        pivot = next((row for row in rows[rank:] if row[column]), None)
        if pivot is None:
            continue
        rows.remove(pivot)
        rows.insert(rank, pivot)
        for row in rows[rank + 1 :]:
            factor = row[column] / pivot[column]
            row[:] = [value - factor * above for value, above in zip(row, pivot, strict=True)]
        rank += 1
    return rank
