"""Replaces what is one exact number in a parsed expression by that number."""

from fractions import Fraction

from deltal_openrlhf.grading.values.arithmetic import Undecided, Undefined
from deltal_openrlhf.grading.values.evaluation import Evaluation, Node

_MAX_BITS = 2000
_EXACT = {
    "plus", "times", "over", "minus", "power", "sqrt", "root", "abs", "factorial", "double_factorial", "binom",
    "floor", "ceil", "gcd", "lcm", "max", "min",
}  # fmt: skip


def folded(node: Node) -> Node:
    """The same expression, with an exact number for each part that is one and is not too large: 2^{10}, 1/2, \\sqrt{4}."""
    if isinstance(node, Fraction | str) or node[0] == "var":
        return node
    operation, *parts = node
    parts = [folded(part) for part in parts]
    if operation == "frac":
        operation = "over"
    if operation in _EXACT and all(isinstance(part, Fraction) for part in parts):
        try:
            value = Evaluation({}, 64, real=True).value((operation, *parts))  # inexact ones stay
        except (Undecided, Undefined):
            return operation, *parts
        if isinstance(value, Fraction) and value.numerator.bit_length() + value.denominator.bit_length() <= _MAX_BITS:
            return value
    return operation, *parts
