r"""Countdown: does the last <answer>...</answer> of a response combine the given numbers to the target?

The answer is an expression of integers, + - * /, unary minus and parentheses. It stands alone or is one side of an equation whose other
side is the target: "(1 + 2) * 3 = 9" or "9 = (1 + 2) * 3". The target there is a plain integer and is not one of the numbers. Every number
has to be used exactly once. Values are exact fractions, so 8 / 3 * 3 is 8. $...$, \boxed{...}, bold type, backticks and a full stop around
the answer are ignored. LaTeX is allowed: \times, \cdot, \div, \frac{8}{3}.

The text of a model is hostile input. It is cut to size, then limited to the characters of an expression. Only then does Python's parser
read it, and a whitelist walks its tree. Neither Python nor sympy evaluates any of it. Whatever is not a correct answer scores 0, and
nothing in a response makes `score` raise.
"""

import ast
import operator
import re
from collections.abc import Sequence
from fractions import Fraction

from deltal_openrlhf.grading.reading.extract import first_turn, without_unfinished_thought

MAX_ANSWER_CHARS = 200
"""Six numbers of four digits with all their parentheses take about 60. Also bounds nesting and the size of any integer."""

_OPEN, _CLOSE = "<answer>", "</answer>"
_EXPRESSION = re.compile(r"[0-9+\-*/() \t\r\n]+")
_INTEGER = re.compile(r"-?[0-9]{1,30}")
_WRAPPERS = (("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), (r"\boxed{", "}"), ("`", "`"), ("*", "*"))
_LATEX = {
    "×": "*", r"\times": "*", r"\cdot": "*", "÷": "/", r"\div": "/", "−": "-", r"\left": "", r"\right": "", r"\dfrac": r"\frac",
    r"\frac{": "((", "}{": ")/(", "}": "))", r"\,": " ",
}  # fmt: skip
_OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


class NotAnAnswer(Exception):
    """The text is not an expression over the whitelist."""


def score(response: str, numbers: Sequence[int], target: int) -> float:
    """1.0 if the last answer of `response` uses every one of `numbers` exactly once and its value is `target`, else 0.0."""
    answer = last_answer(response)
    if answer is None or len(answer) > MAX_ANSWER_CHARS:
        return 0.0
    sides = [side.strip() for side in _plain(answer).split("=")]
    if len(sides) == 2:
        sides = sides[:1] if _is_target(sides[1], target) else sides[1:] if _is_target(sides[0], target) else []
    if len(sides) != 1:
        return 0.0
    try:
        value, used = evaluate(sides[0])
    except (NotAnAnswer, ZeroDivisionError):
        return 0.0
    return float(sorted(used) == sorted(numbers) and value == target)


def last_answer(response: str) -> str | None:
    """The content of the last closed <answer>...</answer> of the first turn, outside an unfinished <think>. None if there is none. The time
    is linear in the length of the response.
    """
    response = without_unfinished_thought(first_turn(response))
    tags = response.replace("İ", "I").lower()  # the one letter that is longer in lower case
    start = tags.rfind(_OPEN, 0, max(tags.rfind(_CLOSE), 0))
    if start < 0:
        return None
    start += len(_OPEN)
    return response[start : tags.index(_CLOSE, start)]


def _plain(answer: str) -> str:
    """The text without typesetting around it, and with Python's signs."""
    before = None
    while answer != before:
        before = answer
        answer = answer.strip().removesuffix(".")
        for opening, closing in _WRAPPERS:
            if answer.startswith(opening) and answer.endswith(closing):
                answer = answer[len(opening) : -len(closing)]
    for latex, sign in _LATEX.items():
        answer = answer.replace(latex, sign)
    return answer


def _is_target(side: str, target: int) -> bool:
    return bool(_INTEGER.fullmatch(side)) and int(side) == target


def evaluate(expression: str) -> tuple[Fraction, list[int]]:
    """The exact value of whole numbers with + - * / and parentheses, and these numbers. Raises NotAnAnswer or ZeroDivisionError."""
    if not _EXPRESSION.fullmatch(expression):
        raise NotAnAnswer
    try:
        tree = ast.parse(expression, mode="eval")
    # All of these are ways in which Python's parser refuses text: bad syntax, too deep, too large.
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise NotAnAnswer from error
    used: list[int] = []

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            used.append(node.value)
            return Fraction(node.value)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
            return _OPERATIONS[type(node.op)](value(node.left), value(node.right))
        raise NotAnAnswer

    return value(tree.body), used
