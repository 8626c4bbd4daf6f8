"""Single expressions compared by math-verify on what latex2sympy2_extended parses. Runs in a worker process only.

Neither sympy's parse_expr nor Python's eval ever sees the text, apart from the digits of its numbers: math-verify's own extraction of
plain expressions uses the first, so only its LaTeX way is taken. No time limit here: the process that runs this is killed
when it takes too long.
"""

import logging
import re
from functools import lru_cache
from typing import Any

from latex2sympy2_extended import NormalizationConfig, latex2sympy, normalize_latex
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
_BRACKET = re.compile(r"(?<!\\sqrt)\[")
_BARE_FUNCTION = re.compile(r"(?<![\\a-zA-Z])(sqrt|sin|cos|tan|log|ln|pi|exp|infty)(?![a-zA-Z])")


_EXAMPLES = (
    (r"\frac{x+1}{2}", r"(1+x)/2"),
    (r"\sqrt{x^2+y_1}-3\pi", r"\sqrt[3]{8}\sin{2x}+\ln(x)"),
    (r"\binom{n}{k}!", r"e^{-i t} \cdot |x|"),
    (r"\lfloor \log_{2} n \rfloor", r"\begin{pmatrix} 1 \\ \cos x \end{pmatrix}"),
    (r"(n-2) 2^{n}+1", r"\left(2^n\right)/\left(n+1\right)"),
)


class Unparsable(Exception):
    """No parser reads this as an expression."""


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
    if a != b and apart(a, b):
        return False
    return bool(verify(a, b, allow_set_relation_comp=True, timeout_seconds=None))


def _is_infinite(text: str) -> bool:
    return r"\infty" in _INFINITE_BOUND.sub("", text)


@lru_cache(maxsize=512)
def _parse(text: str) -> Any:
    """The gold answers of a group of responses are the same, and so are many answers."""
    text = _BARE_FUNCTION.sub(r"\\\1", text.replace("**", "^").replace("*", r"\cdot "))
    latex = normalize_latex(text, config=_NORMALIZATION)
    try:
        return latex2sympy(
            latex, is_real=not should_treat_as_complex(latex), convert_degrees=False, normalization_config=None
        )
    except MemoryError:
        raise
    # The parser's own errors, sympy's, antlr's and RecursionError: to us all of them say the same.
    except Exception as error:
        raise Unparsable from error


def warm_up() -> None:
    """Build what the parser and sympy build on first use: tens of milliseconds for each kind of expression."""
    for gold, pred in _EXAMPLES:
        same_expression(gold, pred)
