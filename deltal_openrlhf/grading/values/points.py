r"""Points at which two expressions have to agree, drawn anew for each pair: of every regime that their operations tell apart.

Both parities and both signs, zero, small and large numbers, whole numbers and others; the numbers that stand in the expressions; and
for what jumps or bends (floors, absolute values, roots, \max) points at and beside a jump. A jump is found where the argument is a
polynomial of degree 1 or 2 in one of its variables, or else by chance; where one may hide from that (hidden.py), agreement proves nothing.
"""

import random
from collections.abc import Iterator
from fractions import Fraction

from deltal_openrlhf.grading.values.arithmetic import Undecided, Undefined
from deltal_openrlhf.grading.values.evaluation import Evaluation, Node, Point
from deltal_openrlhf.grading.values.hidden import factors, has_small_period, is_foreseeable
from deltal_openrlhf.grading.values.jumps import jumps

_INTEGER_LETTERS = set("ijklmnNMK")
"""Whole numbers by convention where they stand in a floor or are the exponent of something that is no positive number."""
_BENT = {"abs", "sqrt", "root", "arcsin", "arccos", "arctan", "arcosh", "artanh", "max", "min", "floor", "ceil"}
_SIGNED = {"abs", "max", "min"}
_ROUNDED = {"floor", "ceil"}
_CHANGING_SIGN = _SIGNED | {"sqrt", "root"}
_OF_NATURALS = {"factorial", "double_factorial", "binom"}
_OF_INTEGERS = _OF_NATURALS | {"gcd", "lcm"}
_BESIDE = (Fraction(0), Fraction(1, 1009), Fraction(-1, 1009), Fraction(1), Fraction(-1))
_UNPREDICTABLE = {"gcd", "lcm"}
"""Where these cross the end of a regime cannot be foreseen."""
_MOST_JUMPS = 6
_MOST_VARIABLES = 12


def is_generic(point: Point) -> bool:
    """Not one where powers and products say nothing."""
    return not any(value in (0, 1, -1) for value in point.values())


class Regimes:
    """What the operations of two expressions tell apart."""

    def __init__(self, *trees: Node) -> None:
        self.variables: set[str] = set()
        self.integers: set[str] = set()
        self.naturals: set[str] = set()
        self.numbers: set[Fraction] = set()
        self.jumps: list[tuple[str, Node]] = []
        self.is_bent = self.is_discrete = self.is_deep = self.is_imaginary = self.has_signs = self.has_calls = False
        for tree in trees:
            self._look(tree)
        self.integers |= self.naturals

    def _look(self, node: Node) -> set[str]:
        """Takes up what stands in it; its variables."""
        if isinstance(node, Fraction):
            self.numbers.add(abs(node))
            return set()
        if isinstance(node, str):
            self.is_imaginary |= node == "i"
            return set()
        operation, *parts = node
        if operation == "var":
            self.variables.add(parts[0])
            return {parts[0]}
        inside = [self._look(part) for part in parts]
        names = set().union(*inside)
        letters = {name for name in names if name[0] in _INTEGER_LETTERS}
        self.is_bent |= bool(names) and operation in ("ln", "log")
        self.has_signs |= operation in _SIGNED
        self.has_calls |= operation == "apply"
        if operation in _OF_INTEGERS:
            self.is_discrete = True
            self.is_deep |= operation in _UNPREDICTABLE and not all(map(has_small_period, parts))
            self.integers |= names
            if operation in _OF_NATURALS:
                self.naturals |= names
        elif operation in ("floor", "ceil"):
            self.is_discrete = True
            self.integers |= letters
        elif operation == "power":
            base, exponent = parts
            if inside[0]:
                self.integers |= {name for name in inside[1] if name[0] in _INTEGER_LETTERS}
                if not (isinstance(exponent, Fraction) and exponent.denominator == 1):
                    self.is_bent = True
                    self._jump("root", [base])
            elif inside[1] and not _is_positive(base):
                self.is_discrete = True
                self.integers |= inside[1] - self._rounded(exponent)
        if operation in _BENT and names:
            self.is_bent = True
            self.is_deep |= any(_holds(part, _UNPREDICTABLE) for part in parts)
            targets = parts[-1:] if operation not in ("max", "min") else _differences(parts)
            self._jump(operation, targets)
        return names

    def _jump(self, operation: str, targets: list[Node]) -> None:
        """Takes up where the operation jumps or bends."""
        if operation in _CHANGING_SIGN:
            targets = [factor for target in targets for factor in factors(target)]
        if operation in _CHANGING_SIGN or operation in _ROUNDED:
            self.is_deep |= not all(map(is_foreseeable, targets))
        self.jumps.extend((operation, target) for target in targets if (operation, target) not in self.jumps)
        self.is_deep |= len(self.jumps) > _MOST_JUMPS

    def _rounded(self, node: Node) -> set[str]:
        """The variables within floors, which are whole whatever these are."""
        if not isinstance(node, tuple) or node[0] == "var":
            return set()
        if node[0] in ("floor", "ceil"):
            return Regimes(node).variables
        return set().union(*map(self._rounded, node[1:]))

    def points(self, draw: random.Random) -> Iterator[Point]:
        """The first of them is ordinary."""
        names = sorted(self.variables)
        if len(names) > _MOST_VARIABLES:
            raise Undecided
        yield self._point(names, draw)
        patterns = self._patterns(names, draw)
        sizes = (0, 1, 1, 2, 3, 5) if self.is_bent or self.is_discrete else (0, 1, 1, 2)
        for _ in range(3 if len(names) == 1 else 2 if self.is_bent or self.is_discrete else 1):
            for pattern in patterns:
                yield {name: self._value(name, draw, pattern[name], draw.choice(sizes)) for name in names}
        if self.is_discrete:
            yield from self._small_integers(names, draw)
        for operation, target in self.jumps[:_MOST_JUMPS]:
            yield from self._beside_jumps(operation, target, names, draw)

    def _point(self, names: list[str], draw: random.Random, pattern: int = 0) -> Point:
        return {name: self._value(name, draw, pattern, 1) for name in names}

    def _patterns(self, names: list[str], draw: random.Random) -> list[dict[str, int]]:
        """Which variables are negative, and odd if they are whole: all ways for few of them, else some."""
        if len(names) <= 2:
            choices = range(4 ** len(names))
            patterns = [{name: code >> 2 * i & 3 for i, name in enumerate(names)} for code in choices]
            draw.shuffle(patterns)
            return patterns
        return [{name: draw.randrange(4) for name in names} for _ in range(16)]

    def _value(self, name: str, draw: random.Random, pattern: int, size: int) -> Fraction:
        """A number of about 10^(size - 1), or close to 1 for size 0. pattern: 1 for an odd number or one below 1, plus 2 if negative."""
        negative = pattern & 2 and name not in self.naturals
        if name in self.integers:
            # Factorials and powers of larger ones are out of range.
            value = Fraction(2 * draw.randint(1, (3, 4, 6, 40, 400, 400)[size]) + (pattern & 1))
        elif size == 0:
            value = 1 + Fraction(draw.randint(1, 99) * (-1 if pattern & 1 else 1), 10007)
        else:
            value = Fraction(draw.randint(1000, 9999), draw.choice((997, 991, 983, 977)))
            value = value * 10 ** (size - 1) if not pattern & 1 else value / 10**size
        return -value if negative else value

    def _small_integers(self, names: list[str], draw: random.Random) -> Iterator[Point]:
        """Every residue of one variable, and pairs that are equal, multiples and neighbours."""
        others = [name for name in names if name not in self.integers]
        whole = [name for name in names if name in self.integers] or names
        for n in range(0 if len(whole) == 1 else 6, 25):
            point = {name: self._value(name, draw, draw.randrange(4), 1) for name in others}
            yield point | {name: Fraction(n if i == 0 else draw.randint(0, 8)) for i, name in enumerate(whole)}
        if len(whole) > 1:
            for n in (1, 2, 3, 6, -2, -7, 12, 60):
                for factor in (1, 2, 3):
                    n = n if not self.naturals else abs(n)
                    point = {name: self._value(name, draw, 0, 1) for name in others}
                    values = {name: Fraction(n * factor) for name in whole}
                    values[draw.choice(whole)] = Fraction(n)
                    yield point | values

    def further_points(self, draw: random.Random) -> Iterator[Point]:
        """At and beside zero and the numbers that stand in the expressions."""
        if not (self.is_bent or self.is_discrete):
            return
        names = sorted(self.variables)
        numbers = sorted(self.numbers)
        numbers = [Fraction(0), *(numbers if len(numbers) <= 6 else draw.sample(numbers, 6))]
        for name in names:
            for number in numbers:
                for value in (number, number + draw.choice(_BESIDE[1:]), 2 * number):
                    for signed in (value, -value):
                        if self._allows(name, signed):
                            yield self._point(names, draw, draw.randrange(4)) | {name: signed}

    def _allows(self, name: str, value: Fraction) -> bool:
        if name in self.naturals and value < 0 or abs(value) > 10**12:
            return False
        return name not in self.integers or value.denominator == 1

    def _beside_jumps(self, operation: str, target: Node, names: list[str], draw: random.Random) -> Iterator[Point]:
        inside = sorted(Regimes(target).variables)
        for name in draw.sample(inside, min(2, len(inside))):
            for size in (1, 4) if len(names) > 1 and (self.is_discrete or self.has_signs) else (1,):
                point = {other: self._value(other, draw, draw.randrange(4), size) for other in names}
                for value in jumps(target, name, point, operation in ("floor", "ceil")):
                    if name in self.integers:
                        value = Fraction(value.__floor__())
                    for step in _BESIDE:
                        if self._allows(name, value + step):
                            yield point | {name: value + step}


def _holds(node: Node, operations: set[str]) -> bool:
    if not isinstance(node, tuple) or node[0] == "var":
        return False
    return node[0] in operations or any(_holds(part, operations) for part in node[1:])


def _differences(parts: list[Node]) -> list[Node]:
    return [("plus", first, ("minus", second)) for first, second in zip(parts, parts[1:], strict=False)]


def _is_positive(node: Node) -> bool:
    """Whether a base without variables is known to be a positive number."""
    try:
        value = Evaluation({}, 100, real=True).value(node)
        return value > 0
    except (Undefined, Undecided):
        return False
