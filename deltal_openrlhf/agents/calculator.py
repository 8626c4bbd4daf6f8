"""A calculator that is called by an equals sign: it writes down what the expression in front of it comes to."""

import re

from deltal_openrlhf.rewards.countdown import MAX_ANSWER_CHARS, NotAnAnswer, evaluate

CALL = "="
"""Ends a call."""
_EXPRESSION = re.compile(r"[0-9+\-*/() \t]+\Z")
_SIGNS = str.maketrans("×÷−", "*/-")


def value(text: str) -> str | None:
    """The exact value of the expression in front of the "=" at the end of a text, such as "12" or "8/3". None if there is no value.

    The expression has whole numbers, + - * / and parentheses, and stands in one line. The longest one counts: in "9 = 3 * 4 =" that is
    3 * 4. Nothing of the text is run, and none of it makes this function raise.
    """
    before = text.removesuffix(CALL)[-MAX_ANSWER_CHARS - 1 :].translate(_SIGNS)
    expression = _EXPRESSION.search(before)
    # One that is as long as what was looked at may have begun before it.
    if expression is None or len(expression.group()) > MAX_ANSWER_CHARS:
        return None
    try:
        return str(evaluate(expression.group().strip())[0])
    except (NotAnAnswer, ZeroDivisionError):
        return None
