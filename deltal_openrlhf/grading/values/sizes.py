"""Tells numbers apart that are too large or too small to be computed, by their logarithms."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from deltal_openrlhf.grading.values.arithmetic import Undecided, Undefined, Value
from deltal_openrlhf.grading.values.evaluation import Evaluation, Node

_BITS = 200


def apart(a: Node, b: Node) -> bool:
    """Whether the sizes of two numbers show that they differ. Raises Undecided where one of them has no size that can be known."""
    sizes = log_size(a), log_size(b)
    return abs(sizes[0] - sizes[1]) > 1e-9 * max(1e3, *map(abs, sizes))


def log_size(node: Node) -> float:
    """ln |value|, also of what is too large to evaluate: powers, factorials, binomials and their products."""
    if isinstance(node, tuple) and node[0] in _LOG_SIZES:
        try:
            return _LOG_SIZES[node[0]](*node[1:])
        except (OverflowError, ValueError):
            raise Undecided from None
    value = _value(node)
    if not value:
        raise Undecided
    if isinstance(value, Fraction):
        return math.log(abs(value.numerator)) - math.log(value.denominator)
    return float(Evaluation({}, _BITS, real=False).context.ln(abs(value)))


def _value(node: Node) -> Value:
    try:
        return Evaluation({}, _BITS, real=False).value(node)
    except Undefined:
        raise Undecided from None


def _real(node: Node) -> float:
    value = _value(node)
    if not (isinstance(value, Fraction) or hasattr(value, "man")):
        raise Undecided
    return float(value)


def _log_factorial(node: Node) -> float:
    return math.lgamma(_real(node) + 1)


def _log_binomial(n: Node, k: Node) -> float:
    over, under = _real(n), _real(k)
    if not 0 <= under <= over:
        raise Undecided
    return math.lgamma(over + 1) - math.lgamma(under + 1) - math.lgamma(over - under + 1)


_LOG_SIZES: dict[str, Callable[..., Any]] = {
    "power": lambda base, exponent: log_size(base) * _real(exponent),
    "binom": _log_binomial,
    "factorial": _log_factorial,
    "minus": log_size,
    "times": lambda a, b: log_size(a) + log_size(b),
    "over": lambda a, b: log_size(a) - log_size(b),
}
