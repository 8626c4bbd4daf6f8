r"""Equations and inequalities.

Two equations are the same if the differences of their sides are proportional: 2x + y = 3 and y = 3 - 2x. An inequality for one
variable is the interval of its values: x < 3 is (-\infty, 3).
"""

import re
from typing import NamedTuple

from deltal_openrlhf.grading.leaves import Same, all_of
from deltal_openrlhf.grading.parts.letters import letters_of
from deltal_openrlhf.grading.parts.names import is_name, names_a_quantity
from deltal_openrlhf.grading.parts.structure import Group, elements, group, split_at
from deltal_openrlhf.grading.values.equality import constant_ratio

_POINT = re.compile(r"[A-Z]'?(?:_\d)?\s?(?=\()")
_SEGMENT = re.compile(r"\|([A-Z]{2})\||\\overline\s?\{([A-Z]{2})\}|m\s?(\\angle(?![a-z]).*)")
_INVERSE = re.compile(r"\\frac\s?\{\s?([1-9]\d*)\s?\}\s?\{\s?([a-z])\s?\}|([1-9]\d*)\s?/\s?([a-z])")
_CALLED = re.compile(r"([a-zA-Z]'*)\s?\(([a-z])\)")
_SIGN = re.compile(r"=|<|>|\\(?:le|ge|ne)(?![a-z])")
MIRRORED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", r"\ne": r"\ne", "=": "="}


class Relation(NamedTuple):
    """sides[0] signs[0] sides[1] signs[1] ..."""

    sides: list[str]
    signs: list[str]

    @property
    def is_equation(self) -> bool:
        return set(self.signs) == {"="}


def relation(text: str) -> Relation | None:
    """The sides of an equation, an inequality or a chain of them; None for anything else. The point P(3, -1) is P = (3, -1)."""
    if not _SIGN.search(text):
        point = _POINT.match(text)
        if point and group(text[point.end() :]):
            return Relation([point[0].strip(), text[point.end() :]], ["="])
        return None
    if elements(text):
        return None
    sides, signs = split_at(text, _SIGN)
    if signs == ["="] and is_name(sides[1]) and not is_name(sides[0]):
        sides = sides[::-1]  # 4 = x
    return Relation(sides, signs) if len(sides) > 1 and all(sides) else None


def solved(equation: Relation, same: Same) -> bool | None:
    r"""Whether the last side is the value that an equation gives: of x = 4, \angle ABC = 30, m + n = 5 and 2 + 3 = 5 it is; of 2x = 5 and
    2 + 4 = 7 it is not."""
    first, *others, value = equation.sides
    if names_a_quantity(first):
        return all_of(same(side, value) for side in others)
    return all_of(same(side, value) for side in (first, *others))


def interval(inequality: Relation) -> tuple[str, Group] | None:
    r"""(variable, its interval) of x < 3, 3 > x or 1 \le x < 3; None for other relations."""
    sides, signs = inequality
    if not set(signs) <= {"<", ">", r"\le", r"\ge"}:
        return None
    if len(sides) == 2 and not is_name(sides[0]):
        sides, signs = sides[::-1], [MIRRORED[signs[0]]]
    if len(sides) == 2 and is_name(sides[0]):
        below = signs[0] in ("<", r"\le")
        bracket = {"<": ")", r"\le": "]", ">": "(", r"\ge": "["}[signs[0]]
        ends = [r"-\infty", sides[1]] if below else [sides[1], r"\infty"]
        return sides[0], Group(f"({bracket}" if below else f"{bracket})", ends)
    if len(sides) == 3 and is_name(sides[1]):
        if set(signs) <= {">", r"\ge"}:
            sides, signs = sides[::-1], [MIRRORED[sign] for sign in signs[::-1]]
        if set(signs) <= {"<", r"\le"}:
            kind = ("(" if signs[0] == "<" else "[") + (")" if signs[1] == "<" else "]")
            return sides[1], Group(kind, [sides[0], sides[2]])
    return None


def same_relation(gold: Relation, pred: Relation, same: Same) -> bool | None:
    """Whether two relations say the same. `same` compares two answers."""
    names = [_length(found.sides[0]) for found in (gold, pred)]
    if gold.is_equation and pred.is_equation and all(map(names_a_quantity, names)):
        if _is_function(*names) or _with_argument(gold, pred) or same(*names):
            equal = same(gold.sides[-1], pred.sides[-1])
            return equal and all_of((equal, solved(gold, same), solved(pred, same)))
        swapped = names[0] in pred.sides[-1] and names[1] in gold.sides[-1]  # x = y and y = x
        inverse = any(_INVERSE.fullmatch(found.sides[-1]) for found in (gold, pred))  # y = 6/x and xy = 6
        if all(map(is_name, names)) and not swapped and not inverse:
            return False
    intervals = interval(gold), interval(pred)
    if intervals[0] and intervals[1]:
        if not same(intervals[0][0], intervals[1][0]):
            return False
        kinds = intervals[0][1].kind == intervals[1][1].kind
        return kinds and all_of(map(same, intervals[0][1].parts, intervals[1][1].parts))
    if len(gold.sides) == len(pred.sides) == 2:
        return _same_pair(gold, pred, same)
    gold, pred = _ascending(gold), _ascending(pred)
    return gold.signs == pred.signs and all_of(map(same, gold.sides, pred.sides))


def _ascending(chain: Relation) -> Relation:
    """3 > 2 > 1 as 1 < 2 < 3."""
    if chain.signs[0] in (">", r"\ge") and set(chain.signs) <= {">", r"\ge", "="}:
        return Relation(chain.sides[::-1], [MIRRORED[sign] for sign in chain.signs[::-1]])
    return chain


def _same_pair(gold: Relation, pred: Relation, same: Same) -> bool | None:
    """Two relations with one sign each, by the differences of their sides."""
    if pred.signs[0] not in (gold.signs[0], MIRRORED[gold.signs[0]]):
        return False
    either_way = gold.signs[0] == MIRRORED[gold.signs[0]]  # = and \ne
    mirrored = not either_way and pred.signs != gold.signs
    gold_difference, pred_difference = (f"({sides[0]})-({sides[1]})" for sides in (gold.sides, pred.sides))
    ratio = constant_ratio(gold_difference, pred_difference)
    if ratio == 0 and gold.is_equation:
        ratio = constant_ratio(_difference(gold), _difference(pred))
    if ratio is not None:
        return ratio != 0 and (either_way or (ratio < 0) == mirrored)
    sides = pred.sides[::-1] if mirrored else pred.sides
    verdict = all_of(map(same, gold.sides, sides))
    if verdict is False and either_way:
        return all_of(map(same, gold.sides, sides[::-1]))
    return verdict


def _length(name: str) -> str:
    r"""AB for |AB| and \overline{AB}, \angle A for m\angle A."""
    segment = _SEGMENT.fullmatch(name)
    return segment[1] or segment[2] or segment[3] if segment else name


def _is_function(name: str, other: str) -> bool:
    """y and f(x)."""
    return {name, other} in ({"y", "f(x)"}, {"y", "y(x)"}, {"y", "g(x)"})


def _with_argument(gold: Relation, pred: Relation) -> bool:
    """y(t) = 2t and y = 2t."""
    for full, bare in ((gold, pred), (pred, gold)):
        called = _CALLED.fullmatch(full.sides[0])
        if called and called[1] == bare.sides[0]:
            return all(called[2] in letters_of(found.sides[-1]) for found in (full, bare))
    return False


def _difference(equation: Relation) -> str:
    """y = 6/x as xy - 6, which has no solution with x = 0 either."""
    left, right = equation.sides
    inverse = _INVERSE.fullmatch(right)
    return f"({left})*({inverse[2] or inverse[4]})-({inverse[1] or inverse[3]})" if inverse else f"({left})-({right})"
