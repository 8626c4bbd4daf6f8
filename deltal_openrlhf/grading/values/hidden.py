r"""Whether the points of points.py meet every regime of a jump: |x^5-10^{60}| bends at 10^{12} only, where no point is.

An argument is foreseeable if each of its factors is: a polynomial of degree 2 at most with moderate numbers, whose jumps are computed;
an expression with small numbers, whose jumps are where the points are dense; and a function of a simple argument.
"""

import math
from collections.abc import Iterator
from fractions import Fraction

from deltal_openrlhf.grading.function_names import ELEMENTARY, TRIGONOMETRIC
from deltal_openrlhf.grading.values.arithmetic import Undecided
from deltal_openrlhf.grading.values.evaluation import Node
from deltal_openrlhf.grading.values.sizes import log_size

_MODERATE, _SMALL, _OF_FUNCTIONS = 10**6, 10, 1000
"""Of numerators and denominators: in polynomials of degree 1 and 2, in longer ones and roots, in arguments of functions."""
_HIGHEST_DEGREE = 6
_SMALLEST_PERIOD = 24
"""Every residue up to it is among the points."""
_FUNCTIONS = ELEMENTARY - {"log", "exp"}
_PIECEWISE = {"abs", "floor", "ceil", "max", "min", "bracket"}


def is_foreseeable(node: Node) -> bool:
    """Whether the points are beside each place where it changes its sign, or where it is whole."""
    if isinstance(node, tuple) and (node[0] in _FUNCTIONS or node[0] == "log" and not _has_variables(node[1])):
        return (_degree(node[-1]) or 9) <= 2 and _largest(node) <= _OF_FUNCTIONS
    degree, largest = _degree(node), _largest(node)
    if degree is None:
        return False
    if degree <= 2 and _is_rational(node):
        return largest <= _MODERATE
    return degree <= _HIGHEST_DEGREE and largest <= (_OF_FUNCTIONS if degree <= 1 else _SMALL)


def factors(node: Node) -> Iterator[Node]:
    """Those of its factors that can change its sign."""
    operation, *parts = node if isinstance(node, tuple) else ("", node)
    if operation in ("times", "over", "minus", "bracket", "abs", "apply"):
        for part in parts:
            yield from factors(part)
    elif operation in ("sqrt", "root"):
        yield from factors(parts[-1])
    elif operation == "power" and not _has_variables(parts[1]):
        yield from factors(parts[0])
    elif operation == "power" and not _has_variables(parts[0]) and parts[0] != "i":
        return  # positive, or a sign that the parity of the exponent tells
    elif operation:
        yield node


def has_small_period(argument: Node) -> bool:
    """Whether an argument of gcd or lcm repeats itself within few whole numbers, whatever it is divided by."""
    return _largest(argument) <= _SMALLEST_PERIOD and _is_linear(argument)


def _degree(node: Node) -> Fraction | None:
    """Of a polynomial, piece by piece; of roots and quotients about how fast they grow. None for what is neither."""
    if not isinstance(node, tuple) or not _has_variables(node):
        return Fraction(0)
    operation, *parts = node
    if operation == "var":
        return Fraction(1)
    if operation in TRIGONOMETRIC:
        return Fraction(1) if _degree(parts[0]) == 1 and _largest(node) <= _SMALL else None
    if operation == "power":
        inner = _degree(parts[0])
        return inner * abs(parts[1]) if inner is not None and isinstance(parts[1], Fraction) else None
    if operation in ("sqrt", "root"):
        return _degree(parts[-1])
    degrees = [_degree(part) for part in parts]
    known = [degree for degree in degrees if degree is not None]
    if len(known) < len(degrees):
        return None
    if operation in ("times", "over"):
        return sum(known, Fraction(0))
    return max(known) if operation in ("plus", "minus") or operation in _PIECEWISE else None


def _is_linear(node: Node) -> bool:
    """A sum of products of variables and numbers of which only a product by itself has more than one variable."""
    if not isinstance(node, tuple) or node[0] == "var":
        return True
    operation, *parts = node
    if operation in ("plus", "minus"):
        return all(_is_linear(part) and (_degree(part) or 0) <= 1 for part in parts)
    return operation == "times" and all(_is_product(part) for part in parts)


def _is_product(node: Node) -> bool:
    return not isinstance(node, tuple) or node[0] == "var" or node[0] == "times" and all(map(_is_product, node[1:]))


def _is_rational(node: Node) -> bool:
    """Whether it is a polynomial with rational coefficients, perhaps piece by piece: jumps.py computes nothing for others."""
    if not isinstance(node, tuple):
        return isinstance(node, Fraction)
    operation, *parts = node
    if operation == "var":
        return True
    if operation == "over":
        return _is_rational(parts[0]) and isinstance(parts[1], Fraction)
    if operation == "power":
        exponent = parts[1]
        return _is_rational(parts[0]) and isinstance(exponent, Fraction) and exponent.denominator == 1 and exponent > 0
    return (operation in ("plus", "times", "minus") or operation in _PIECEWISE) and all(map(_is_rational, parts))


def _has_variables(node: Node) -> bool:
    return isinstance(node, tuple) and (node[0] == "var" or any(map(_has_variables, node[1:])))


def _largest(node: Node) -> float:
    """The largest numerator or denominator in it, exponents included; of a number that is not rational its size too."""
    if isinstance(node, Fraction):
        return max(abs(node.numerator), node.denominator)
    if not isinstance(node, tuple) or node[0] == "var":
        return 0
    inside = max(map(_largest, node[1:]))
    if _has_variables(node):
        return inside
    try:
        return max(inside, math.exp(abs(log_size(node))))
    except (Undecided, OverflowError):
        return math.inf
