r"""Compares two expressions. "Equal" rests on an identity, "different" on a point at which they differ.

In this order: the same tree; exact numbers; one rational function, modulo a random prime (identity.py); agreement at points of every
regime (agreement.py). Points and prime are drawn anew for each pair, from a hash of the two texts. What none of them decides is None.

Variables are real numbers. They are whole in factorials, binomials, gcd and lcm and in exponents of negative numbers; n, k, m and the
like also in floors and in exponents of variables. Where only one side is defined for real numbers, as 2\ln x is not at -1, it is not
compared with \ln(x^2); but it is where |x| says that signs matter.
"""

import hashlib
import random
import re
from fractions import Fraction

from deltal_openrlhf.grading.values.agreement import BITS, Agreement
from deltal_openrlhf.grading.values.arithmetic import Undecided, Value
from deltal_openrlhf.grading.values.cursor import Malformed
from deltal_openrlhf.grading.values.decimals import is_decimal_of
from deltal_openrlhf.grading.values.evaluation import Node
from deltal_openrlhf.grading.values.expressions import Expression, expression_of
from deltal_openrlhf.grading.values.folding import folded
from deltal_openrlhf.grading.values.sizes import apart

_INFINITY = re.compile(r"([-+]?)\s*\\infty")


def same_value(gold: str, pred: str) -> bool | None:
    """Whether two expressions are equal; None where this path cannot tell."""
    infinities = [_INFINITY.fullmatch(text) for text in (gold, pred)]
    if all(infinities):
        return (infinities[0][1] == "-") == (infinities[1][1] == "-")  # type: ignore[index]
    try:
        if any(infinities):
            expression_of(pred if infinities[0] else gold)
            return False
        a = expression_of(gold)
        try:
            b = expression_of(pred)
        except Malformed:
            return False
        return _same(*sorted((a, b), key=lambda expression: expression.text))
    except (Undecided, RecursionError):
        return None


def constant_ratio(gold: str, pred: str) -> float | None:
    """gold / pred where that is the same real number everywhere, 0 where it is not; None where this path cannot tell."""
    try:
        a, b = expression_of(gold), expression_of(pred)
        if len(_readings(a, b)) > 1:
            return None
        if not a.variables or a.variables != b.variables:
            return 0.0 if a.variables and b.variables else None
        return _ratio(a.tree, b.tree, _draw(a, b))
    except (Undecided, RecursionError):
        return None


def _same(a: Expression, b: Expression) -> bool | None:
    if a.tree == b.tree:
        return True
    if isinstance(a.tree, Fraction) and isinstance(b.tree, Fraction):
        return _stands_for(a, b) or _stands_for(b, a)
    if a.variables or b.variables or a.has_brackets or b.has_brackets:
        verdicts = {Agreement(*trees, _draw(a, b)).verdict() for trees in _readings(a, b)}
        return verdicts.pop() if len(verdicts) == 1 else None
    verdict = Agreement(a.tree, b.tree, _draw(a, b)).verdict()
    if verdict is None:
        return False if apart(a.tree, b.tree) else None
    return verdict or _stands_for(a, b) or _stands_for(b, a)


def _stands_for(decimal: Expression, other: Expression) -> bool:
    if not decimal.decimals or other.is_number:
        return False
    is_exact = isinstance(other.tree, Fraction)
    pair = Agreement(decimal.tree, other.tree, random.Random(0)).pair({}, BITS, real=False)
    if pair.y is None or not (is_exact or hasattr(pair.y, "man_exp")):
        return False
    if is_exact:
        return is_decimal_of(decimal.tree, decimal.decimals, pair.y, is_exact)
    mantissa, exponent = pair.y.man_exp
    return is_decimal_of(decimal.tree, decimal.decimals, mantissa * Fraction(2) ** exponent, is_exact)


def _ratio(a: Node, b: Node, draw: random.Random) -> float | None:
    ratio = None
    agreeing = 0
    for pair in Agreement(a, b, draw).pairs():
        if min(abs(pair.x), abs(pair.y)) <= pair.noise * 2**60:
            if isinstance(pair.x, Fraction) and isinstance(pair.y, Fraction) and (pair.x == 0) != (pair.y == 0):
                return 0.0
            continue
        here = pair.x / pair.y
        if ratio is None:
            if isinstance(here, Fraction):
                same = Agreement(a, ("times", here, b), draw).verdict()
                return _in_range(here) if same else None if same is None else 0.0
            ratio = here
        elif abs(ratio.context.convert(here) - ratio) > abs(ratio) * 2.0**-40:
            return 0.0
        agreeing += 1
    return _in_range(ratio) if agreeing > 3 and hasattr(ratio, "man_exp") else None


def _in_range(ratio: Value) -> float | None:
    try:
        return float(ratio) or None
    except OverflowError:
        return None


def _readings(a: Expression, b: Expression) -> list[tuple[Node, Node]]:
    """The trees, with [x] for x and for the floor of x."""
    if not (a.has_brackets or b.has_brackets):
        return [(a.tree, b.tree)]
    return [(folded(_read(a.tree, is_floor)), folded(_read(b.tree, is_floor))) for is_floor in (False, True)]


def _read(node: Node, is_floor: bool) -> Node:
    if not isinstance(node, tuple) or node[0] == "var":
        return node
    operation, *parts = node
    parts = [_read(part, is_floor) for part in parts]
    if operation == "bracket":
        return ("floor", *parts) if is_floor else parts[0]
    return operation, *parts


def _draw(a: Expression, b: Expression) -> random.Random:
    """Random numbers of this pair, the same in every process and for (b, a)."""
    return random.Random(hashlib.sha256("\0".join(sorted((a.text, b.text))).encode()).digest())
