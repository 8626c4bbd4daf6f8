r"""Whether two expressions agree at points of every regime (points.py), to 40 digits and more.

Of numbers of very different sizes the precision is such that the smallest still counts: \sqrt{10^{40}+1} is not 10^{20}. The points of
a pair are drawn for it, so expressions that differ do not meet at them by chance, nor by intent.
"""

import random
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from deltal_openrlhf.grading.values.arithmetic import OutsideDomain, Undecided, Undefined, Value
from deltal_openrlhf.grading.values.evaluation import Evaluation, Node, Point
from deltal_openrlhf.grading.values.identity import same_function
from deltal_openrlhf.grading.values.points import Regimes, is_generic

BITS = 200
"""Of every value; more where large and small numbers meet."""
_CONSTANT_BITS = 600
"""Of a number, which no random point protects from a coincidence."""
_MOST_BITS = 4000
_MOST_BITS_AT_POINTS = 1200
"""Points that take more are left out."""
_MOST_WORK = 4000
"""Operations of 200 bits that a pair may take: some milliseconds."""
_START = 3
"""What a point takes before its first operation."""
_FEWEST_POINTS = 4


class Pair(NamedTuple):
    """Values of two expressions at one point, None where there is none."""

    x: Value
    y: Value
    noise: Value
    is_outside: bool
    """One of them is the root or the logarithm of a negative number."""

    @property
    def is_defined(self) -> bool:
        return self.x is not None and self.y is not None

    def same(self) -> bool:
        """Of values that are defined. Raises Undecided for a difference that rounding could explain, but hardly."""
        if isinstance(self.x, Fraction) and isinstance(self.y, Fraction):
            return self.x == self.y
        difference = abs(self.x - self.y)
        if self.noise < difference < self.noise * 2**30:
            raise Undecided
        return difference <= self.noise


class Agreement:
    """Of two expressions with the same random numbers whatever their order."""

    def __init__(self, a: Node, b: Node, draw: random.Random) -> None:
        self.trees = a, b
        self.draw = draw
        self.regimes = Regimes(a, b)
        self.work = 0.0

    def verdict(self) -> bool | None:
        """Whether they are equal; None where that cannot be told."""
        if not self.regimes.variables:
            return self._constants()
        points = self.regimes.points(self.draw)
        first = self._pair_or_none(next(points))
        if first and first.is_defined and not first.same():
            return False
        same = same_function(*self.trees, self.draw)
        if same is not None or self.regimes.has_calls:
            return same
        return self._everywhere(list(points), list(self.regimes.further_points(self.draw)))

    def _constants(self) -> bool | None:
        try:
            for bits in (BITS, _CONSTANT_BITS):
                pair = self.pair({}, bits, real=False)
                if not pair.is_defined:
                    return None
                if not pair.same():
                    return False
            return True
        except Undecided:
            return same_function(*self.trees, self.draw)

    def _everywhere(self, points: list[Point], further: list[Point]) -> bool | None:
        """Where no point is defined for real numbers, and where i occurs, roots and logarithms of negative numbers are complex.
        further: where there is time for them."""
        for real in (False,) if self.regimes.is_imaginary else (True, False):
            agreeing = alone = too_large = 0
            for number, point in enumerate([*points, *further]):
                try:
                    pair = self._pair_or_none(point, real)
                except Undecided:
                    if number < len(points):
                        raise
                    break
                if pair is None:
                    too_large += 1
                elif pair.is_defined:
                    if not pair.same():
                        return False
                    agreeing += is_generic(point)
                elif pair.is_outside and (pair.x is not None or pair.y is not None):
                    alone += 1
            if agreeing >= max(_FEWEST_POINTS, too_large):
                return None if alone and self.regimes.has_signs or self.regimes.is_deep else True
            if agreeing:
                return None
        return None

    def pairs(self) -> Iterable[Pair]:
        """At generic points at which both are defined."""
        for point in self.regimes.points(self.draw):
            pair = self._pair_or_none(point)
            if pair and pair.is_defined and is_generic(point):
                yield pair

    def _pair_or_none(self, point: Point, real: bool = True) -> Pair | None:
        """None where a value is too large."""
        try:
            return self.pair(point, BITS, real and not self.regimes.is_imaginary)
        except Undecided:
            if self.work > _MOST_WORK:
                raise
            return None

    def pair(self, point: Point, fewest_bits: int, real: bool) -> Pair:
        """The values at a point. Raises Undecided where one is out of bounds."""
        needed, bits = fewest_bits, 0
        while needed > bits:
            bits = needed
            if bits > (_MOST_BITS_AT_POINTS if point else _MOST_BITS):
                raise Undecided
            evaluations = [Evaluation(point, bits, real) for _ in self.trees]
            values: list[Value] = []
            is_outside = False
            for evaluation, tree in zip(evaluations, self.trees, strict=True):
                try:
                    values.append(evaluation.value(tree))
                except Undefined as error:
                    values.append(None)
                    is_outside |= isinstance(error, OutsideDomain)
                finally:
                    self.work += _START + evaluation.operations * (bits / BITS) ** 1.5
                if self.work > _MOST_WORK:
                    raise Undecided
            if all(isinstance(value, Fraction) for value in values) and all(e.is_exact for e in evaluations):
                return Pair(values[0], values[1], 0, False)
            low, high = min(e.low for e in evaluations), max(e.high for e in evaluations)
            needed = fewest_bits + 2 * (high - low)
        noise = max(evaluation.noise for evaluation in evaluations)
        x, y = (value if value is None else evaluations[0].inexact(value) for value in values)
        return Pair(x, y, noise, is_outside)
