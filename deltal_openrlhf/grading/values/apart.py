"""Whether more digits show a difference between two expressions of sympy. Runs in a worker process only."""

import random
from fractions import Fraction
from typing import Any

from sympy import Derivative, Expr, Float, Integral, Limit, Product, Rational, Sum

from deltal_openrlhf.grading.values.decimals import is_decimal_of

_DIGITS = 50
_SAME = 1e-40
"""Share of the values that may be left of a difference of 50 digits."""
_SMALLEST = 1e-80
"""Below it may be what is left of 0."""
_POINTS = 2
_UNEVALUATED = (Derivative, Integral, Limit, Product, Sum)


def apart(a: Any, b: Any) -> bool:
    """True where two expressions differ at a random point, beyond what a decimal of six places and more may stand for. False where they
    do not, and for what has no values here: sets, matrices, unknown functions, sums and integrals that sympy leaves as they are."""
    if not (isinstance(a, Expr) and isinstance(b, Expr)):
        return False
    symbols = sorted(a.free_symbols | b.free_symbols, key=str)
    if not symbols and (_stands_for(a, b) or _stands_for(b, a)):
        return False
    exact = _exact(a), _exact(b)
    if any(expression.has(*_UNEVALUATED) for expression in exact):
        return False
    draw = random.Random(repr(sorted(map(str, exact))))
    for _ in range(_POINTS if symbols else 1):
        point = {symbol: Rational(draw.randint(1000, 9999), draw.choice((991, 997))) for symbol in symbols}
        values = [expression.subs(point) for expression in exact]
        sizes = [_size(values[0] - values[1]), *map(_size, values)]
        if None not in sizes and sizes[0] > max(_SMALLEST, _SAME * max(sizes[1:])):
            return True
    return False


def _exact(expression: Expr) -> Expr:
    """With fractions for its decimals, and without sums and integrals that sympy can evaluate."""
    expression = expression.replace(lambda part: isinstance(part, Float), lambda part: Rational(str(part)))
    return expression.doit() if expression.has(*_UNEVALUATED) else expression


def _size(expression: Expr) -> Any:
    """|value|, a number of sympy; None where there is none."""
    value = abs(expression.evalf(_DIGITS))
    return value if value.is_number and value.is_finite else None


def _stands_for(decimal: Any, other: Any) -> bool:
    if not isinstance(decimal, Float) or other.free_symbols:
        return False
    digits = str(decimal)
    value = _exact(other)
    number = value if isinstance(value, Rational) else value.evalf(_DIGITS)
    if not number.is_real:
        return False
    exact = Rational(str(number))
    places = len(digits.partition(".")[2].rstrip("0"))
    return is_decimal_of(Fraction(digits), places, Fraction(exact.p, exact.q), isinstance(value, Rational))
