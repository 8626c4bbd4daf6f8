r"""What the left side of an equation names: a quantity that is asked for (x, f(2), AB, \angle ABC, m + n), or an unknown to solve for."""

import re

from deltal_openrlhf.grading.function_names import ELEMENTARY
from deltal_openrlhf.grading.parts.structure import group
from deltal_openrlhf.grading.reading.denials import NO_NAME
from deltal_openrlhf.grading.reading.normalize import unwrap_command
from deltal_openrlhf.grading.values.tokens import GREEK

_FUNCTIONS = "|".join(sorted(ELEMENTARY | {"lg", "sqrt"}))
_OPERATIONS = rf"twice|half|double|triple|thrice|minus|plus|times|squared|cubed|negative|reciprocal|{NO_NAME}"
_CHANGED = (
    r"(?:square|cube|fourth|fifth|nth)(?:d| root)?|root|opposite|inverse|reciprocal|negative|negation|complement|conjugate|factorial"
    r"|logarithm|log|twice|thrice|half|double|triple|quarter|third|minus"
)
_OF_THE_ANSWER = re.compile(
    rf"\s*(?:(?:the|an?|its?|their|his|her|this|that|my|our|your) |[a-z]+'s )*(?:{_CHANGED})(?:\s*$| (?:of|the|its|this|that)\b)"
    r"|.*\b(?:squared|cubed|doubled|tripled|halved|negated|inverted)\s*$",
    re.IGNORECASE,
)
"""What is no quantity by itself but made of another one: the square root, twice the answer."""
_INDEX = r"(?:_(?:\{(?:[^{}]|\{[^{}]*\})*\}|\w))"
_NAME = re.compile(
    rf"(?:[a-zA-Z]|\\(?!frac|pi(?![a-z])|(?:{_FUNCTIONS})(?![a-z]))[a-zA-Z]+|\\text\{{(?!\s*(?:{_FUNCTIONS})\s*\}})[^{{}}]*\}}){_INDEX}?'*"
    r"(?:\^\{?-1\}?(?=\())?(?P<argument>\([^()=]*\))?(?:\\text\{[^{}]*\})?"
)
_MATRIX_POWER = re.compile(r"[A-Z]\^(?:\{?(?:-1|T|t|\*|\\top|\\text\{T\})\}?)")
_WORDS = re.compile(rf"(?!(?:{_FUNCTIONS})\b)(?!.*\b(?:{_OPERATIONS})\b)[A-Za-z][A-Za-z' -]*")
# Letters with a mark above, in bold or with an index are names as wholes; so are f(2) and P(X = 2), and complex numbers between bars.
_MARKED = re.compile(
    rf"\\(?:overline|bar|vec|hat|tilde|dot|widehat|overrightarrow|mathbb|mathcal|text(?!\s*\{{\s*(?:{_FUNCTIONS})))\s*(?:\{{[^{{}}]*\}}|[a-zA-Z])"
    rf"{_INDEX}?|[a-zA-Z]{_INDEX}|(?<![a-zA-Z\\])[fghFGPEVQTS]'*\([^()]*\)|\([fgh]\s?(?:\\circ|[-+*/])\s?[fgh]\)\([^()]*\)|\|[zwuv]\||\\\|[a-z]\\\|"
)
_CONJUGATE = re.compile(
    r"\\(?:overline|bar)\s*(?:\{\s*[zw](?:_\w)?\s*\}|[zw])(?:_\w)?|[zw](?:_\w)?\s*\^\s*\{?\s*(?:\*|\\ast)\s*\}?"
)
_FIGURE = re.compile(r"m?\s*\\angle(?![a-z])|\\(?:triangle|det|dim|deg|gcd|max|min|sup|inf)(?![a-z])")
_ANGLE = re.compile(r"\\(?:sin|cos|tan|cot)(?![a-z])")
_OPERATORS = re.compile(r"[\s+\-*/|:,()\[\]{}]|\\(?:frac|cap|cup|parallel|circ|star|odot|oplus|otimes)(?![a-z])|\\\|")
_LOWER_WORD = re.compile(r"(?<![a-zA-Z\\])[a-z]{3,}")
_FIGURE_LETTER = re.compile(rf"\\(?:{'|'.join(sorted(GREEK))})(?![a-zA-Z])|[A-Z]'?")
_LINEAR_TERM = r"\d*\s*\*?\s*[a-zA-Z](?:_\w)?"
_LINEAR_FORM = re.compile(rf"{_LINEAR_TERM}(?:\s*[+-]\s*{_LINEAR_TERM})+")
_COORDINATES = set("xyzt")


def is_name(side: str) -> bool:
    r"""x, x_1, f(x), f^{-1}(x), A^T, \theta, (x, y), "number of ways"; not x(x+1), which is a product."""
    if side.startswith("(") and (names := group(side)):
        return all(map(is_name, names.parts))
    if _is_of_the_answer(side):
        return False
    match = _NAME.fullmatch(side)
    if match:
        argument = match["argument"] or ""
        return side[0] in "fgh" or not re.search(rf"[+*/-]|{re.escape(side[0])}", argument) or side[0].isupper()
    return bool(_MATRIX_POWER.fullmatch(side)) or bool(_WORDS.fullmatch(unwrap_command(side, r"\text")))


def _is_of_the_answer(side: str) -> bool:
    words = unwrap_command(side, r"\text")
    return " " in words and bool(_OF_THE_ANSWER.match(words))


def names_a_quantity(side: str) -> bool:
    r"""A name, or an expression that two or more names or a figure's letters make, whose value is asked for: AB, |AB|, \angle ABC, \cos A,
    m + n, \frac{m}{n}, 100a+10b+c. What holds one unknown, as 2x, \log x and |x| do, is an equation to solve; so is 2x+3y, a line."""
    if _is_of_the_answer(side):
        return False
    if is_name(side):
        return True
    if side[:1] in ("-", "+") or _CONJUGATE.fullmatch(side):  # \overline{z} = 3+4i says that z is 3-4i
        return False
    if _LINEAR_FORM.fullmatch(side):
        names = re.findall(r"[a-zA-Z](?:_\w)?", side)
        plain = not re.search(r"\d\s*\*?\s*[a-zA-Z]", side)
        return len(set(names)) == len(names) and (plain or not _COORDINATES & set(names))
    if side.startswith(r"\lim"):
        return True
    marked = _FIGURE.sub("A", _MARKED.sub("A", side))
    without_angles = _ANGLE.sub("A", marked)
    letters = _OPERATORS.sub("", without_angles)
    unknowns = _FIGURE_LETTER.sub("", letters)
    if (unknowns and not unknowns.isalpha()) or _LOWER_WORD.search(marked):
        return False  # numbers, powers, roots; words that do something to an unknown
    if not unknowns:
        return bool(letters)
    return without_angles == marked and len(set(unknowns)) + (len(unknowns) < len(letters)) > 1
