r"""Functions defined by cases: compared on each interval on which one case of both applies. |x| is x for x \ge 0 and -x for x < 0."""

import math
import re
from fractions import Fraction
from typing import NamedTuple

from deltal_openrlhf.grading.leaves import Same, all_of
from deltal_openrlhf.grading.parts.absolute import line
from deltal_openrlhf.grading.parts.sets import ALL, Piece, RealSet, is_set, real_set
from deltal_openrlhf.grading.parts.structure import braced_set, group, split

_OTHERWISE = re.compile(r"(?:\\text\s?\{\s?)?(?:otherwise|else(?:where)?|in all other cases)\s?\}?")
_NAMED = re.compile(r"(?P<name>[a-zA-Z]'?(?:_\w)?(?:\s?\([a-z]\))?)\s?=\s?(?=\\\{)")
_BARS = re.compile(r"\|([^|]{1,40})\|")
_LETTER = re.compile(r"(?<![a-zA-Z\\])([a-zA-Z])(?![a-zA-Z])")
_MOST_CASES = 12
_LARGEST = 1e15
"""Of the ends of conditions."""


class Cases(NamedTuple):
    """name: what the function was called, or "". cases: (value, where)."""

    name: str
    variable: str
    cases: list[tuple[str, RealSet | None]]


def cases(text: str) -> Cases | None:
    """The cases of \\{(value, condition), ...\\}, which stands for an environment; None for what is not over real numbers."""
    if r"\{" not in text:
        return None
    named = _NAMED.match(text)
    inner = braced_set(text[named.end() :] if named else text)
    if inner is None or not (is_set(inner) or "otherwise" in inner):
        return None
    found: list[tuple[str, RealSet | None]] = []
    for pair in split(inner, ","):
        parts = group(pair)
        if parts is None or parts.kind != "()":
            return None
        value, condition = parts.parts[0], ",".join(parts.parts[1:])
        if _OTHERWISE.fullmatch(condition):
            found.append((value, None))
            continue
        where = real_set(condition) if is_set(condition) or "=" in condition or r"\in" in condition else None
        if where is None or not where.variable:
            return None
        found.append((value, where))
    variables = {where.variable for _, where in found if where}
    if len(variables) != 1 or len(found) > _MOST_CASES or any(where is None for _, where in found[:-1]):
        return None
    return Cases(named["name"] if named else "", variables.pop(), found)


def same_cases(gold: Cases, pred: Cases, same: Same) -> bool | None:
    """Whether two functions have the same values, wherever they are defined."""
    if gold.variable != pred.variable or not _may_be_same_name(gold.name, pred.name):
        return False
    variable = gold.variable
    cuts = _cuts([*gold.cases, *pred.cases], variable)
    if cuts is None:
        return False
    verdicts: list[bool | None] = []
    for at, text in _places(cuts):
        one, other = _value(gold, at), _value(pred, at)
        if one is None or other is None:
            verdicts.append(one is other)
        elif text is not None:
            verdicts.append(same(one, other) or same(_put(one, variable, text), _put(other, variable, text)))
        else:
            verdicts.append(same(_without_bars(one, variable, at), _without_bars(other, variable, at)))
        if verdicts[-1] is False:
            return False
    return all_of(verdicts)


def as_cases(text: str, like: Cases | None) -> Cases | None:
    """A function in one formula with |x| in it, as the one case that it is."""
    if like is None:
        return None
    name, equals, formula = text.rpartition("=")
    if "|" not in formula or not _BARS.search(formula) or set(_LETTER.findall(formula)) != {like.variable}:
        return None
    return Cases(name.strip() if equals else "", like.variable, [(formula.strip(), RealSet(like.variable, (ALL,)))])


def _may_be_same_name(one: str, other: str) -> bool:
    one, other = sorted((one.replace(" ", ""), other.replace(" ", "")), key=len)
    return one in ("", other) or one == "y" and re.fullmatch(r"[fgy]\([a-z]\)", other) is not None


def _cuts(found: list[tuple[str, RealSet | None]], variable: str) -> dict[float, str] | None:
    """The ends of all conditions, and the zeros of what stands in bars; None where two are too close to be told apart, or one too large."""
    ends = [
        (end.value, end.text)
        for _, where in found
        if where
        for piece in where.pieces
        for end in (piece.low, piece.high)
    ]
    for value, _ in found:
        for bent in map(line, _BARS.findall(value)):
            if bent and bent[0] == variable:
                ends.append((-bent[2] / bent[1], str(-bent[2] / bent[1])))
    cuts: dict[float, str] = {}
    for end, text in sorted(ends):
        if end in (math.inf, -math.inf):
            continue
        if not -_LARGEST <= end <= _LARGEST or any(_is_close(float(end), known) for known in list(cuts)[-1:]):
            return None
        cuts.setdefault(float(end), text)
    return cuts


def _is_close(one: float, other: float) -> bool:
    return one != other and math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def _places(cuts: dict[float, str]) -> list[tuple[float, str | None]]:
    """A point between two neighbouring ends each, and the ends with their text."""
    values = sorted(cuts)
    between = [(low + high) / 2 for low, high in zip(values, values[1:], strict=False)]
    outside = [values[0] - 1, values[-1] + 1] if values else [0.0]
    return [*((value, None) for value in [*between, *outside]), *((value, cuts[value]) for value in values)]


def _value(function: Cases, at: float) -> str | None:
    """The formula that applies there, of the first case that does."""
    for value, where in function.cases:
        if where is None or any(_holds(piece, at) for piece in where.pieces):
            return value
    return None


def _holds(piece: Piece, at: float) -> bool:
    low, high = piece
    above = float(low.value) < at or low.included and float(low.value) == at
    return above and (at < float(high.value) or high.included and float(high.value) == at)


def _put(formula: str, variable: str, text: str) -> str:
    return _LETTER.sub(lambda letter: f"({text})" if letter[1] == variable else letter[0], formula)


def _without_bars(formula: str, variable: str, at: float) -> str:
    """With the sign of |ax + b| that holds at a place."""

    def signed(bars: re.Match[str]) -> str:
        bent = line(bars[1])
        if not bent or bent[0] != variable:
            return bars[0]
        return f"({'-' if bent[1] * Fraction(at) + bent[2] < 0 else ''}({bars[1]}))"

    return _BARS.sub(signed, formula)
