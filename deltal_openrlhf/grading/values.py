"""Compares the values of two expressions at fixed values of their variables: the same in every process."""

import math
import re
from fractions import Fraction

from deltal_openrlhf.grading.arithmetic import Undecided, Value
from deltal_openrlhf.grading.expressions import UNKNOWN_BASE, Expression, Malformed

_INFINITY = re.compile(r"([-+]?)\s*\\infty")
# One row a point. At small positive values first, which decide that two expressions differ. Roots and absolute values are the same there
# and not elsewhere: |x - 5| = 5 - x.
_POINTS = [[Fraction(p, q) for p, q in row] for row in (
    ((17, 13), (29, 23), (41, 19), (53, 37), (61, 31), (71, 43), (83, 47), (97, 59), (107, 89), (113, 73), (127, 101), (131, 67)),
    ((19, 11), (31, 29), (37, 17), (59, 41), (67, 53), (73, 61), (89, 71), (101, 79), (109, 83), (137, 97), (139, 103), (149, 43)),
    ((2003, 53), (-3001, 59), (4001, 61), (-5003, 67), (6007, 71), (-7001, 73), (8009, 79), (-9001, 83), (997, 7), (-991, 11), (983, 13),
     (-977, 17)),
    ((-3989, 41), (4507, 43), (-2999, 47), (6011, 29), (-7013, 31), (8017, 37), (-9029, 13), (997, 19), (-5009, 23), (6029, 97),
     (-7039, 89), (8053, 61)),
    ((-23, 17), (-13, 11), (-43, 31), (-47, 29), (-71, 67), (-79, 73), (-83, 89), (-103, 97), (-59, 37), (-61, 53), (-67, 41), (-73, 19)),
)]  # fmt: skip


_BASES = (Fraction(10), Fraction(math.e))


def same_value(gold: str, pred: str) -> bool | None:
    """Whether two expressions are equal; None where this path cannot tell."""
    infinities = [_INFINITY.fullmatch(text) for text in (gold, pred)]
    if all(infinities):
        return (infinities[0][1] == "-") == (infinities[1][1] == "-")  # type: ignore[index]
    try:
        if any(infinities):
            Expression(pred if infinities[0] else gold)
            return False
        a = Expression(gold)
        try:
            b = Expression(pred)
        except Malformed:
            return False
        if a.tree == b.tree:
            return True
        names, points = _points(a, b)
        verdicts = [_same_at(a, b, point) for point in (points[:2] if names else points[:1])]
        verdicts += [_same_or_out_of_range(a, b, point) for point in (points[2:] if names else [])]
    except (Undecided, RecursionError, OverflowError):
        return None
    needed = verdicts if a.has_branches or b.has_branches else [verdict for verdict in verdicts if verdict is not None]
    if verdicts[0] and all(needed):
        return True
    if UNKNOWN_BASE in names:
        return False if verdicts[:2] == [False, False] else None  # whatever the base
    return False if False in (verdicts if a.is_rounded or b.is_rounded else verdicts[:2]) else None


def constant_ratio(gold: str, pred: str) -> float | None:
    """gold / pred where that is the same real number everywhere, 0 where it is not; None where this path cannot tell."""
    try:
        a, b = Expression(gold), Expression(pred)
        names, points = _points(a, b)
        if not a.variables or a.variables != b.variables:
            return 0.0 if a.variables and b.variables else None
        ratios = [complex(a.at(point) / b.at(point)) for point in points]
        if UNKNOWN_BASE in names or abs(ratios[0]) < 1e-9:
            return None
        spread = max(abs(ratio / ratios[0] - 1) for ratio in ratios)
        if spread > 1e-7:
            return 0.0
        return ratios[0].real if spread < 1e-11 and abs(ratios[0].imag) < 1e-11 * abs(ratios[0]) else None
    except (Undecided, RecursionError, ArithmeticError):
        return None


def _points(a: Expression, b: Expression) -> tuple[list[str], list[dict[str, Fraction]]]:
    """The variables of both, and the points to look at: many for floors and ceilings, which agree by chance at a few."""
    names = sorted(a.variables | b.variables)
    if len(names) > len(_POINTS[0]):
        raise Undecided
    points = [dict(zip(names, point, strict=False)) for point in _POINTS]
    if a.is_rounded or b.is_rounded:
        points = [{name: value * k for name, value in point.items()} for k in range(1, 40) for point in points[:2]]
        points += [
            {name: k + i - Fraction(1, 4099) for i, name in enumerate(names)} for k in range(2, 9)
        ]  # just below a whole number
    if UNKNOWN_BASE in names:
        points = [{**point, UNKNOWN_BASE: _BASES[i % 2]} for i, point in enumerate(points)]
    return names, points


def _same_at(a: Expression, b: Expression, point: dict[str, Fraction]) -> bool | None:
    try:
        x, y = a.at(point), b.at(point)
    except Undecided:
        # One of them is too large: they differ if their sizes do.
        sizes = a.log_size_at(point), b.log_size_at(point)
        if abs(sizes[0] - sizes[1]) > 1e-9 * max(1e3, *map(abs, sizes)):
            return False
        raise
    return (
        True
        if _is_decimal_of(a, x, b, y) or _is_decimal_of(b, y, a, x)
        else _close(x, y, a.has_extremes or b.has_extremes)
    )


def _same_or_out_of_range(a: Expression, b: Expression, point: dict[str, Fraction]) -> bool | None:
    try:
        return _same_at(a, b, point)
    except Undecided:
        return None


def _is_decimal_of(decimal: Expression, number: Value, other: Expression, value: Value) -> bool:
    """Whether a bare decimal is `value`, rounded or cut off to six places and digits or more. Two bare decimals are compared exactly."""
    places = decimal.decimals
    if places is None or places < 6 or other.is_plain or other.variables:
        return False
    ulp = float(10) ** float(-places)
    return abs(complex(number) - complex(value)) < ulp and abs(complex(number)) > 1e5 * ulp


def _close(x: Value, y: Value, careful: bool) -> bool | None:
    """careful: with numbers so large or small that floating point may not see a difference."""
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x == y
    try:
        x, y = complex(x), complex(y)
    except OverflowError:
        return False  # a Fraction beyond floating point, and a number within it
    size = max(abs(x), abs(y))
    if size < 1e-9:
        return None
    difference = abs(x - y) / size
    if difference < 1e-12:
        return None if careful else True  # \sqrt{10^{20}+1} is not 10^{10}
    return False if difference > 1e-7 else None
