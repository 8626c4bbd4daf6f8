"""Where the argument of a floor, an absolute value or a root makes it jump or bend."""

import math
from fractions import Fraction

from deltal_openrlhf.grading.values.arithmetic import Undecided, Undefined
from deltal_openrlhf.grading.values.evaluation import Evaluation, Node, Point

_BITS = 100
_STEP = 12
"""Parities and remainders by small numbers are the same at all three points."""
_STARTS = (Fraction(0), Fraction(5000), Fraction(-5000))
"""What is a polynomial piece by piece, |x| - 1000, has its jumps where one of these pieces has them."""


def jumps(target: Node, name: str, point: Point, is_rounded: bool) -> set[Fraction]:
    """Values of the variable `name` where the target is 0, or is whole if it is rounded; at its extreme too. Exact for lines."""
    smooth = _without_floors(target)
    return {start + x for start in _STARTS for x in _after(start, smooth, name, point, is_rounded)}


def _without_floors(node: Node) -> Node:
    """About the same number: a floor of a floor of x/2 over 3 jumps where x/6 is whole."""
    if not isinstance(node, tuple) or node[0] == "var":
        return node
    if node[0] in ("floor", "ceil"):
        return _without_floors(node[1])
    return node[0], *map(_without_floors, node[1:])


def _after(start: Fraction, target: Node, name: str, point: Point, is_rounded: bool) -> list[Fraction]:
    """By the parabola through three points."""
    ordinates = []
    for x in (0, _STEP, 2 * _STEP):
        try:
            value = Evaluation(point | {name: start + x}, _BITS, real=True).value(target)
        except (Undefined, Undecided):
            return []
        if not isinstance(value, Fraction):
            return []
        ordinates.append(value)
    below, between, above = ordinates
    square = (below - 2 * between + above) / (2 * _STEP**2)
    slope = (between - below) / _STEP - square * _STEP
    levels = [Fraction(0)]
    if is_rounded:
        levels = [Fraction(below.__floor__() + step) for step in (0, 1, 5)]
    if square == 0:
        return [(level - below) / slope for level in levels] if slope else []
    extreme = -slope / (2 * square)
    found = [extreme]
    for level in levels:
        under_root = extreme**2 - (below - level) / square
        if under_root > 0:
            width = Fraction(math.isqrt((under_root * 10**12).__floor__()), 10**6)
            found += [extreme - width, extreme + width]
    return found
