r"""A value with a decimal that is close to it: \sqrt{2} \approx 1.41, \frac{1}{3} (\approx 0.33), x \approx 1.41."""

import re
from fractions import Fraction

from deltal_openrlhf.grading.parts.names import is_name
from deltal_openrlhf.grading.parts.structure import split
from deltal_openrlhf.grading.values.arithmetic import Undecided
from deltal_openrlhf.grading.values.cursor import Malformed
from deltal_openrlhf.grading.values.expressions import expression_of

_BRACKETED = re.compile(r"\s*\(\s*\\approx([^()]*)\)\s*$")
_UNIT = re.compile(r"\s*(?:\\text\s*\{[^{}]*\}(?:\^\{?\d\}?)?|\^\\circ|%)\s*$")
_TOLERANCE = Fraction(1, 50)


def exact_side(text: str) -> str | None:
    r"""\sqrt{2} of \sqrt{2} \approx 1.41 and of \sqrt{2} (\approx 1.41); 1.41 of x \approx 1.41. None where a number is not close to the
    exact one: \sqrt{2} \approx 3."""
    sides = split(_BRACKETED.sub(r"\\approx\1", text), r"\approx")
    if len(sides) > 1 and is_name(sides[0].strip()):
        sides = sides[1:]
    exact = _number(sides[0])
    if exact is not None and not all(_is_close(side, exact) for side in sides[1:]):
        return None
    return sides[0].strip()


def _is_close(side: str, exact: Fraction) -> bool:
    """Whether a decimal is the exact number rounded or cut off at its last place, or 2 % from it; whatever is no number counts as close."""
    number = _number(side)
    if number is None:
        return True
    places = _UNIT.sub("", side).strip().partition(".")[2]
    last = Fraction(1, 10 ** min(len(places), 30))
    off = abs(number - exact)
    return off <= max(last / 2, abs(exact) * _TOLERANCE) or abs(number) < abs(exact) and off < last


def _number(side: str) -> Fraction | None:
    """The real value of the last expression of an equation, without its unit; None where it has none."""
    try:
        value = expression_of(_UNIT.sub("", side.rpartition("=")[2]).strip()).at({})
        value = complex(value) if not isinstance(value, Fraction) else value
        if isinstance(value, complex):
            return Fraction(value.real) if abs(value.imag) < 1e-12 else None
        return value
    except (Undecided, Malformed, ArithmeticError, ValueError, RecursionError, KeyError):
        return None
