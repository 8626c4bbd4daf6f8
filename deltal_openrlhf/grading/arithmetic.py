"""Values of parsed expressions (expressions.py): exact as long as everything is rational, else complex floating point.

Sizes of numbers, powers, factorials and roots are bounded, so that nothing takes long; what is out of bounds is Undecided.
"""

import cmath
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NoReturn

Value = Fraction | complex
Node = Fraction | str | tuple
"""(operation, operands...), a number, or the name of a constant."""

_MAX_BITS = 20_000

FUNCTIONS = {
    "sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan, "ln": cmath.log, "exp": cmath.exp, "sinh": cmath.sinh,
    "cosh": cmath.cosh, "tanh": cmath.tanh, "arcsin": cmath.asin, "arccos": cmath.acos, "arctan": cmath.atan,
    "sec": lambda x: 1 / cmath.cos(x), "csc": lambda x: 1 / cmath.sin(x), "cot": lambda x: 1 / cmath.tan(x),
}  # fmt: skip


class Undecided(Exception):
    """This text is not for the cheap path."""


def evaluate(node: Node, values: dict[str, Fraction]) -> Value:
    """The value of a node. Raises Undecided, ArithmeticError or ValueError where there is none in range."""
    if isinstance(node, Fraction):
        return node
    if isinstance(node, str):
        return complex({"pi": math.pi, "e": math.e}.get(node, 1j))
    operation = node[0]
    if operation == "var":
        return values[node[1]]
    if operation == "call":
        return _call(node[1], evaluate(node[2], values))
    operands = [evaluate(part, values) for part in node[1:]]
    result = _OPERATIONS[operation](*operands)
    if isinstance(result, Fraction):
        if result.numerator.bit_length() + result.denominator.bit_length() > _MAX_BITS:
            raise Undecided
        return result
    if not cmath.isfinite(result):
        raise Undecided
    return result


def log_size(node: Node, values: dict[str, Fraction]) -> float:
    """ln |value|, also of what is too large to evaluate: powers, factorials, binomials and their products. Raises as `evaluate`."""
    if isinstance(node, tuple) and node[0] in _LOG_SIZES:
        return _LOG_SIZES[node[0]](node, values)
    value = evaluate(node, values)
    if isinstance(value, Fraction):
        return math.log(abs(value.numerator)) - math.log(value.denominator)
    return math.log(abs(value))


def _log_power(node: Any, values: dict[str, Fraction]) -> float:
    return log_size(node[1], values) * _real(evaluate(node[2], values))


def _log_binomial(node: Any, values: dict[str, Fraction]) -> float:
    n, k = (_real(evaluate(part, values)) for part in node[1:])
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) if 0 <= k <= n else _undecided()


_LOG_SIZES: dict[str, Callable] = {
    "^": _log_power,
    "binom": _log_binomial,
    "!": lambda node, values: math.lgamma(_real(evaluate(node[1], values)) + 1),
    "neg": lambda node, values: log_size(node[1], values),
    "*": lambda node, values: log_size(node[1], values) + log_size(node[2], values),
    "frac": lambda node, values: log_size(node[1], values) - log_size(node[2], values),
}


def _call(name: str, x: Value) -> complex:
    result = complex(FUNCTIONS[name](complex(x)))
    if not cmath.isfinite(result):
        raise Undecided
    return result


def _divide(a: Value, b: Value) -> Value:
    if isinstance(b, complex) and abs(b) < 1e-9:
        raise Undecided
    return a / b


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        bits = base.numerator.bit_length() + base.denominator.bit_length()
        if abs(exponent.numerator) * bits > _MAX_BITS:
            raise Undecided
        return base**exponent.numerator
    if isinstance(exponent, Fraction) and isinstance(base, Fraction):
        return _power(_root(Fraction(exponent.denominator), base), Fraction(exponent.numerator))
    return complex(base) ** complex(exponent)


def _root(degree: Value, x: Value) -> Value:
    """Principal root; of a negative real number and an odd degree, the real one. Exact where it comes out even."""
    if not (isinstance(degree, Fraction) and degree.denominator == 1 and 2 <= degree <= 1000):
        raise Undecided
    n = degree.numerator
    if isinstance(x, Fraction):
        if x < 0:
            if n % 2 == 0:
                return 1j * complex(_root(degree, -x)) if n == 2 else _undecided()
            return -_root(degree, -x)
        over, under = _exact_root(x.numerator, n), _exact_root(x.denominator, n)
        if over is not None and under is not None:
            return Fraction(over, under)
        return complex(float(x) ** (1 / n)) if n > 2 else complex(math.sqrt(x))
    return cmath.sqrt(x) if n == 2 else complex(x) ** (1 / n)


def _exact_root(value: int, n: int) -> int | None:
    if value.bit_length() > 2000:
        raise Undecided
    if n == 2:
        root = math.isqrt(value)
    else:
        if value.bit_length() > 1000:
            raise Undecided
        root = round(value ** (1 / n))
    return root if root**n == value else None


def _factorial(x: Value) -> Value:
    if isinstance(x, Fraction) and x.denominator == 1:
        return Fraction(math.factorial(x.numerator)) if 0 <= x <= 500 else _undecided()
    return complex(math.gamma(_real(x) + 1))


def _binomial(n: Value, k: Value) -> Value:
    if all(isinstance(v, Fraction) and v.denominator == 1 for v in (n, k)):
        in_range = 0 <= n.real <= 1000 and 0 <= k.real <= 1000
        return Fraction(math.comb(int(n.real), int(k.real))) if in_range else _undecided()
    x, y = _real(n), _real(k)
    return complex(math.gamma(x + 1) / (math.gamma(y + 1) * math.gamma(x - y + 1)))


def _real(x: Value) -> float:
    if isinstance(x, complex) and abs(x.imag) > 1e-12:
        raise Undecided
    return float(x.real)


def _rounded(function: Callable[[Any], int]) -> Callable[[Value], Value]:
    def rounded(x: Value) -> Value:
        if not isinstance(x, Fraction):
            x = Fraction(_real(x))
            if abs(x - round(x)) < 1e-6:
                raise Undecided
        return Fraction(function(x))

    return rounded


def _log(base: Value, x: Value) -> Value:
    return _divide(cmath.log(x), cmath.log(base))


def _undecided() -> NoReturn:
    raise Undecided


ROUNDING = {r"\lfloor": _rounded(math.floor), r"\lceil": _rounded(math.ceil)}

_OPERATIONS: dict[str, Callable] = {
    **ROUNDING,
    "+": lambda a, b: a + b,
    "*": lambda a, b: a * b,
    "/": _divide,
    "frac": _divide,
    "neg": lambda a: -a,
    "^": _power,
    "sqrt": lambda x: _root(Fraction(2), x),
    "root": _root,
    "abs": abs,
    "!": _factorial,
    "binom": _binomial,
    "log": _log,
}
