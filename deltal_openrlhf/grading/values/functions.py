"""The elementary functions, and those of whole numbers, of values of arithmetic.py."""

import math
from collections.abc import Callable
from fractions import Fraction

from deltal_openrlhf.grading.values.arithmetic import GUARD, Arithmetic, Undecided, Undefined, Value, no_value

_MAX_FACTORIAL = 500


def _sin(arithmetic: Arithmetic, x: Value) -> Value:
    if not x:
        return x
    return arithmetic.zero_below(arithmetic.context.sin(arithmetic.inexact(x)), arithmetic.size(x))


def _cos(arithmetic: Arithmetic, x: Value) -> Value:
    if not x:
        return Fraction(1)
    return arithmetic.zero_below(arithmetic.context.cos(arithmetic.inexact(x)), arithmetic.size(x))


def _hyperbolic(name: str) -> Callable[[Arithmetic, Value], Value]:
    def function(arithmetic: Arithmetic, x: Value) -> Value:
        if arithmetic.size(x) > 14:
            raise Undecided
        return arithmetic.zero_below(getattr(arithmetic.context, name)(arithmetic.inexact(x)), 0)

    return function


def _reciprocal(function: Callable[[Arithmetic, Value], Value]) -> Callable[[Arithmetic, Value], Value]:
    return lambda arithmetic, x: arithmetic.over(Fraction(1), function(arithmetic, x))


def _inverse(name: str) -> Callable[[Arithmetic, Value], Value]:
    """arcsin and its like."""

    def function(arithmetic: Arithmetic, x: Value) -> Value:
        for end in (1, -1):
            # Where arcsin is steepest rounding must not move its argument.
            if arithmetic.plus(x, Fraction(-end)) == 0:
                if name == "atanh":
                    raise Undefined
                x = Fraction(end)
        return arithmetic.zero_below(getattr(arithmetic.context, name)(arithmetic.inexact(x)), 0)

    return function


def _factorial(_: Arithmetic, x: Value) -> Value:
    if not (type(x) is Fraction and x.denominator == 1 and x <= _MAX_FACTORIAL):
        raise Undecided
    return Fraction(math.factorial(x.numerator))  # a ValueError below 0


def _double_factorial(_: Arithmetic, x: Value) -> Value:
    """n!! is n(n-2)(n-4)...: no factorial of a factorial."""
    if not (type(x) is Fraction and x.denominator == 1 and 0 <= x <= _MAX_FACTORIAL):
        raise Undecided
    return Fraction(math.prod(range(x.numerator, 0, -2)))


def _binom(arithmetic: Arithmetic, n: Value, k: Value) -> Value:
    if not (type(n) is Fraction and type(k) is Fraction and k.denominator == 1):
        raise Undecided
    if n.denominator == 1 and n >= 0:
        if max(n, k) > 2 * _MAX_FACTORIAL:
            raise Undecided
        return Fraction(math.comb(n.numerator, k.numerator) if k >= 0 else 0)
    if not 0 <= k <= 50:
        raise Undecided
    return math.prod(((n - j) / (j + 1) for j in range(k.numerator)), start=Fraction(1))


def _floor(arithmetic: Arithmetic, x: Value) -> Value:
    if type(x) is Fraction:
        return Fraction(math.floor(x))
    if arithmetic.size(arithmetic.as_real(x)) > arithmetic.bits - 2 * GUARD:
        raise Undecided
    arithmetic.is_exact = False
    nearest = arithmetic.context.nint(x)
    # \log_2 8 is 3, and no rounding below it.
    is_whole = not arithmetic.zero_below(x - nearest, arithmetic.size(x))
    return Fraction(int(nearest if is_whole else arithmetic.context.floor(x)))


def _comparable(arithmetic: Arithmetic, numbers: tuple[Value, ...]) -> list[Value]:
    if all(type(x) is Fraction for x in numbers):
        return list(numbers)
    arithmetic.is_exact = False
    return [arithmetic.inexact(arithmetic.as_real(x)) for x in numbers]


def _integers(numbers: tuple[Value, ...]) -> list[int]:
    return [x.numerator if type(x) is Fraction and x.denominator == 1 else no_value() for x in numbers]


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "abs": lambda _, x: abs(x),
    "sqrt": lambda arithmetic, x: arithmetic.root(Fraction(2), x),
    "ln": Arithmetic.ln,
    "log": lambda arithmetic, base, x: arithmetic.over(arithmetic.ln(x), arithmetic.ln(base)),
    "sin": _sin,
    "cos": _cos,
    "tan": lambda arithmetic, x: arithmetic.over(_sin(arithmetic, x), _cos(arithmetic, x)),
    "cot": lambda arithmetic, x: arithmetic.over(_cos(arithmetic, x), _sin(arithmetic, x)),
    "sec": _reciprocal(_cos),
    "csc": _reciprocal(_sin),
    "sinh": _hyperbolic("sinh"),
    "cosh": _hyperbolic("cosh"),
    "tanh": _hyperbolic("tanh"),
    "coth": _reciprocal(_hyperbolic("tanh")),
    "sech": _reciprocal(_hyperbolic("cosh")),
    "csch": _reciprocal(_hyperbolic("sinh")),
    "arcsin": _inverse("asin"),
    "arccos": _inverse("acos"),
    "arctan": lambda arithmetic, x: arithmetic.context.atan(arithmetic.inexact(x)),
    "arsinh": _hyperbolic("asinh"),
    "arcosh": _inverse("acosh"),
    "artanh": _inverse("atanh"),
    "factorial": _factorial,
    "double_factorial": _double_factorial,
    "binom": _binom,
    "floor": _floor,
    "ceil": lambda arithmetic, x: -_floor(arithmetic, -x),
    "gcd": lambda _, *numbers: Fraction(math.gcd(*_integers(numbers))),
    "lcm": lambda _, *numbers: Fraction(math.lcm(*_integers(numbers))),
    "max": lambda arithmetic, *numbers: max(_comparable(arithmetic, numbers)),
    "min": lambda arithmetic, *numbers: min(_comparable(arithmetic, numbers)),
}
"""Of an Arithmetic and the operands. They may raise ValueError or ZeroDivisionError where there is no value."""
