r"""The kind of a gold answer, for the table of a data set. Grading does not use it.

The first kind that fits counts. The answer is taken without $, degree and percent signs, and without a \text{unit} at its end.
"""

import re

TYPES = ("integer", "decimal", "fraction", "tuple/interval/set", "expression", "equation", "multiple choice", "text")

_UNIT = r"(?<=[\w)}\s])\\(?:text|mathrm|mbox)\{[^{}]*\}(?:\^\{?-?\d\}?)?"
_DRESSING = re.compile(r"\\[$%!,;: ]|[$%]|\^\{?\\circ\}?|°|\\(?:left|right|displaystyle)\b|" + _UNIT)
_CHOICE = re.compile(r"(?:\\(?:text|textbf|mathrm|mathbf)\{)?\(?[A-E]\)?\}?")
_INTEGER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)")
_DECIMAL = re.compile(r"[+-]?(?:\d+\.\d*|\.\d+|\d+)(?:e[+-]?\d+|(?:\\times|\\cdot)10\^\{?-?\d+\}?)?")
_FRACTION = re.compile(r"[+-]?\d*(?:\\[dt]?frac(?:\{-?\d+\}|\d)(?:\{-?\d+\}|\d)|\d+/\d+|\{?-?\d+\}?\\over\{?\d+\}?)")
_RELATION = re.compile(r"[=<>≤≥≠∈]|\\(?:leqslant|geqslant|leq|geq|le|ge|lt|gt|neq|ne|in|equiv|approx)(?![a-zA-Z])")
_SEVERAL = re.compile(r"\\cup|\\(?:begin\{[pbv]?matrix\}|infty\)|pm)|\\\{|\\emptyset|\\mathbb")
_WORDS_COMMAND = re.compile(r"\\(?:text|textbf|textit|mbox)\{[^{}]*[A-Za-z]{2}")
_COMMAND = re.compile(r"\\(?:begin|end)\{[a-z]+\}|\\[a-zA-Z]+")
_FUNCTION = re.compile(r"\b(?:arc)?(?:sin|cos|tan|cot|sec|csc|log|exp|max|min|gcd|lcm|mod)h?\b")
_WORD = re.compile(r"[A-Za-z][a-z]{2,}")


def answer_type(gold: str) -> str:
    """One of TYPES."""
    answer = _DRESSING.sub("", gold).strip().rstrip(".")
    if _CHOICE.fullmatch(answer):
        return "multiple choice"
    compact = re.sub(r"\s", "", answer)
    for kind, form in (("integer", _INTEGER), ("decimal", _DECIMAL), ("fraction", _FRACTION)):
        if form.fullmatch(compact):
            return kind
    relation = _RELATION.search(answer)
    words = _WORD.findall(_FUNCTION.sub(" ", _COMMAND.sub(" ", answer)))
    if _WORDS_COMMAND.search(answer) or words == [compact] or len(words) > (2 if relation else 1):
        return "text"
    if _is_several(compact):
        return "tuple/interval/set"
    return "equation" if relation else "expression"


def _is_several(compact: str) -> bool:
    """Whether there is a comma outside the inner brackets of a call, or a form that only sets, vectors and intervals have."""
    if _SEVERAL.search(compact) or re.fullmatch(r"[(\[{].*,.*[)\]}]", compact):
        return True
    depth = 0
    for character in compact:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth <= 0:
            return True
    return False
