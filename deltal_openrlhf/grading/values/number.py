"""The number that a text is, for putting parts in order."""

from fractions import Fraction

from deltal_openrlhf.grading.values.arithmetic import Undecided
from deltal_openrlhf.grading.values.expressions import Expression


def number(text: str) -> Fraction | float | None:
    r"""The value of 3, \frac{1}{2} or \sqrt{2}; None for what has letters, is not real or cannot be read."""
    if text.isascii() and text.isdecimal() and len(text) < 100:
        return Fraction(int(text))
    try:
        expression = Expression(text)
        value = None if expression.variables else expression.at({})
    except (Undecided, RecursionError):
        return None
    if isinstance(value, complex):
        return value.real if not value.imag else None
    return value
