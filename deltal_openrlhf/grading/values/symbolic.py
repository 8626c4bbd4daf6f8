"""Single expressions compared by math-verify on what latex2sympy2_extended parses. Runs in a worker process only.

Neither sympy's parse_expr nor Python's eval ever sees the text, apart from the digits of its numbers: math-verify's own extraction of
plain expressions uses the first, so only its LaTeX way is taken. No time limit here: the process that runs this is killed
when it takes too long.
"""

import logging
import re
from functools import lru_cache
from typing import Any

from antlr4 import PredictionMode
from latex2sympy2_extended import NormalizationConfig, normalize_latex
from latex2sympy2_extended.antlr_parser import PSParser
from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy
from math_verify.grader import should_treat_as_complex, verify

from deltal_openrlhf.grading.values.apart import apart

logging.getLogger("math_verify").setLevel(logging.ERROR)

_NORMALIZATION = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none")
# What this parser leaves out (f' is f to it), and what sympy takes for polynomials (gcd(a, b) is 1).
_LOST = ("'", r"\sim", r"\{", "!!")
_MISREAD = re.compile(r"\\(?:gcd|text\{\s*(?:gcd|lcm)\s*\})")
_SIDE_BY_SIDE = re.compile(r"(?<![\d^_])\d{1,20}\s+(?!\d{3}(?!\d))\d")
"""Two numbers, which this parser multiplies."""
# As a bound or a limit it is part of a number; anywhere else math-verify now and then takes 67 \infty for 672.
_INFINITE_BOUND = re.compile(r"(?:[_^]\s*\{?|\\(?:to|rightarrow))\s*[-+]?\s*\\infty")
_BINDER = re.compile(r"\\(?:sum|prod|int|iint|oint|lim|max|min|sup|inf)(?![a-zA-Z])|\\frac\s?\{\s?d")
_LETTERS = re.compile(r"\\[a-zA-Z]+|[a-zA-Z]")
_NUMBERS = {"e", "i", "d"}
_BRACKET = re.compile(r"(?<!\\sqrt)\[")
_BARE_FUNCTION = re.compile(r"(?<![\\a-zA-Z])(sqrt|sin|cos|tan|log|ln|pi|exp|infty)(?![a-zA-Z])")


_EXAMPLES = (
    (r"\frac{x+1}{2}", r"(1+x)/2"),
    (r"\sqrt{x^2+y_1}-3\pi", r"\sqrt[3]{8}\sin{2x}+\ln(x)"),
    (r"\binom{n}{k}!", r"e^{-i t} \cdot |x|"),
    (r"\lfloor \log_{2} n \rfloor", r"\begin{pmatrix} 1 \\ \cos x \end{pmatrix}"),
    (r"(n-2) 2^{n}+1", r"\left(2^n\right)/\left(n+1\right)"),
    (r"\sum_{k=1}^{n} k^2", r"\prod_{k=1}^{3} (k+1)"),
    (r"\int_0^{1} 3x\,dx", r"\lim_{x \to 0} \frac{1}{x}"),
    (r"\overline{z}+1", r"2\vec{a}-\Re(z)"),
)
"""One of each kind that reaches a worker."""


class Unparsable(Exception):
    """No parser reads this as an expression."""


class _FastReader(_Latex2Sympy):
    """Reads with the weaker and faster of antlr's two predictions: it finds the tree that the other one does, or a syntax error."""

    def create_parser(self, latex_str: str) -> PSParser:
        parser = super().create_parser(latex_str)
        parser._interp.predictionMode = PredictionMode.SLL
        return parser


def same_expression(gold: str, pred: str) -> bool:
    """Whether two expressions of normalised LaTeX are equal. Raises Unparsable where one of them is no expression.

    math-verify compares up to 15 digits or 6 places. Where more digits show a difference it is not asked, which also saves the time in
    which it simplifies.
    """
    if _SIDE_BY_SIDE.search(gold) or _SIDE_BY_SIDE.search(pred):
        return False
    if len(_BRACKET.findall(gold)) != len(_BRACKET.findall(pred)):
        return False  # [x] may be the floor of x
    if any(gold.count(sign) != pred.count(sign) for sign in _LOST) or _MISREAD.search(gold + pred):
        return False
    if _is_infinite(gold) != _is_infinite(pred):
        return False
    a, b = _parse(gold), _parse(pred)
    if not _BINDER.search(gold + pred) and _letters(gold) != _letters(pred):
        return False
    if a != b and apart(a, b):
        return False
    return bool(verify(a, b, allow_set_relation_comp=True, timeout_seconds=None))


def _is_infinite(text: str) -> bool:
    return r"\infty" in (_INFINITE_BOUND.sub("", text) if _BINDER.search(text) else text)


def _letters(text: str) -> set[str]:
    """The names in it, which this parser loses in products with 0."""
    return {name for name in _LETTERS.findall(_BARE_FUNCTION.sub(r"\\\1", text)) if name[0] != "\\"} - _NUMBERS


@lru_cache(maxsize=512)
def _parse(text: str) -> Any:
    """The gold answers of a group of responses are the same, and so are many answers."""
    text = _BARE_FUNCTION.sub(r"\\\1", text.replace("**", "^").replace("*", r"\cdot "))
    latex = normalize_latex(text, config=_NORMALIZATION)
    is_real = not should_treat_as_complex(latex)
    failure: Exception | None = None
    for reader in (_FastReader, _Latex2Sympy):
        try:
            return reader(is_real=is_real).parse(latex)
        except MemoryError:
            raise
        # The parser's own errors, sympy's, antlr's and RecursionError: to us all of them say the same.
        except Exception as error:
            failure = error
    raise Unparsable from failure


def warm_up() -> None:
    """Build what the parser and sympy build on first use: tens of milliseconds for each kind of expression."""
    for gold, pred in _EXAMPLES:
        same_expression(gold, pred)
