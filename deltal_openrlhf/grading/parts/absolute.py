"""Inequalities with one absolute value: |x - 1| < 3 is -2 < x < 4."""

from fractions import Fraction

from deltal_openrlhf.grading.parts.letters import letters_of
from deltal_openrlhf.grading.values.arithmetic import Undecided
from deltal_openrlhf.grading.values.expressions import Expression
from deltal_openrlhf.grading.values.number import number

_COMPLEX = set("zw")
_GREATER = (">", r"\ge")
_LOW = r"-\infty"
_MOST_BITS = 1000
"""Of slope and shift, which are written out for the ends."""


def line(text: str) -> tuple[str, Fraction, Fraction] | None:
    """(x, a, b) of what equals ax + b, with a other than 0."""
    if len(letters_of(text)) != 1:
        return None
    try:
        expression = Expression(text)
        if len(expression.variables) != 1:
            return None
        [name] = expression.variables
        values = [expression.at({name: Fraction(point)}) for point in (0, 1, 2, 5)]
    except (Undecided, RecursionError):
        return None
    exact = [value for value in values if isinstance(value, Fraction)]
    if len(exact) < len(values):
        return None
    first, second, third, last = exact
    slope = second - first
    if any(part.bit_length() > _MOST_BITS for value in (slope, first) for part in value.as_integer_ratio()):
        return None
    if not slope or third != first + 2 * slope or last != first + 5 * slope:
        return None
    return name, slope, first


def absolute_intervals(side: str, sign: str, bound: str) -> tuple[str, list[tuple[str, str, str]]] | None:
    """(variable, the (brackets, low, high) of its intervals) of |ax + b| < c; None for anything else."""
    if len(side) < 3 or side[0] != "|" or side[-1] != "|" or side.count("|") > 2:
        return None
    found, value = line(side[1:-1].strip()), number(bound)
    if found is None or value is None or not (value > 0 or value == 0 and sign in _GREATER) or found[0] in _COMPLEX:
        return None
    name, slope, shift = found
    low, high = (f"({bound_sign}({bound})-({shift}))/({slope})" for bound_sign in ("-+" if slope > 0 else "+-"))
    if sign in ("<", r"\le"):
        return name, [("()" if sign == "<" else "[]", low, high)]
    if sign in _GREATER:
        return name, [("()" if sign == ">" else "(]", _LOW, low), ("()" if sign == ">" else "[)", high, r"\infty")]
    return None
