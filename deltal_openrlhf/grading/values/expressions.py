r"""Reads short expressions, for the cheap comparison of two answers.

Integers, decimals, + - * / ^ !, brackets, \frac, \sqrt, \binom, \pi, e, i, |x|, floor and ceiling, the elementary functions, gcd, lcm,
max and min, letters as variables, products without a sign. Whatever else there is, and whatever can be read in two ways (1/2x), is
Undecided. The size of the text and the depth of its brackets are bounded.
"""

import re
from fractions import Fraction
from functools import lru_cache

from deltal_openrlhf.grading.values.arithmetic import Undecided, Undefined
from deltal_openrlhf.grading.values.evaluation import Evaluation
from deltal_openrlhf.grading.values.folding import folded
from deltal_openrlhf.grading.values.grammar import Parser

_PLAIN_NUMBER = re.compile(r"[-+]?\s*(?:\d+\.?\d*|\.\d+)")
_BITS = 100
"""Of an inexact value, which has some 50 in the end."""


class Expression:
    """A parsed expression. `variables`: their names; `decimals`: digits behind the decimal point if it is a bare number."""

    def __init__(self, text: str) -> None:
        parser = Parser(text)
        self.text = text
        self.tree = folded(parser.parse())
        self.variables = parser.variables
        self.has_brackets = parser.has_brackets
        self.is_number = bool(_PLAIN_NUMBER.fullmatch(text))
        self.decimals = len(text) - text.index(".") - 1 if self.is_number and "." in text else 0

    def at(self, values: dict[str, Fraction]) -> Fraction | complex:
        """Its value with these values of its variables, exact where it is a Fraction. Raises Undecided where there is none."""
        try:
            value = Evaluation(values, _BITS, real=False).value(self.tree)
            return value if isinstance(value, Fraction) else complex(value)
        except (Undefined, OverflowError) as error:
            raise Undecided from error


@lru_cache(maxsize=512)
def expression_of(text: str) -> Expression:
    """The same golds come again and again, with the responses of a group. Raises Undecided for what is no expression of this grammar."""
    return Expression(text)
