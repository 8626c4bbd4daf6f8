"""Light normalisation of an answer: what LaTeX and typography can write in several ways without meaning something else.

Only text in, text out; nothing is computed. Every pattern is linear in the length of the text.
"""

import re
from collections.abc import Callable

from deltal_openrlhf.grading.extract import closing_braces

_CHARACTERS = {
    "−": "-", "–": "-", "—": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "π": r"\pi ", "∞": r"\infty ",
    "°": r"^\circ ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "∪": r"\cup ", "∩": r"\cap ", "±": r"\pm ", "√": r"\sqrt ",
    "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "∅": r"\emptyset ",
    "⁄": "/", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "∈": r"\in ", "“": "", "”": "",
    "′": "'", "’": "'", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u200b": "", "\u200c": "", "\u200d": "", "\ufeff": "",
    "\u2061": "", "（": "(", "）": ")", "，": ",", "％": "%", "．": ".",
}  # fmt: skip
_TRANSLATION = str.maketrans(_CHARACTERS)

_SIZES = re.compile(
    r"\\(?:left|right|[bB]igg?[lrm]?)(?![a-zA-Z])\.?|\\(?:displaystyle|textstyle|limits|nolimits)(?![a-zA-Z])"
)
_THIN_SPACES = re.compile(r"(?<=\d),\\!\s*(?=\d{3})|(?<!\\)\\[!,]|\{\}")  # 1,\! 000 is one number
_SPACES = re.compile(r"(?<!\\)\\[;:> ]|\\(?:quad|qquad|hfill|newline)(?![a-zA-Z])|(?<!\\)~|\\\n|\s+")
_FRACTIONS = re.compile(r"\\[dtc]frac(?![a-zA-Z])")
_TEXTS = re.compile(
    r"\\(?:text(?:bf|it|rm|normal|sf|tt)?|math(?:rm|bf|it|sf|tt)|mbox|textbf|operatorname|bold|rm|bf)\s*\{"
)
_SYNONYMS = {
    r"\leq": r"\le", r"\leqslant": r"\le", r"\geq": r"\ge", r"\geqslant": r"\ge", r"\neq": r"\ne", r"\div": "/",
    r"\lbrace": r"\{", r"\rbrace": r"\}", r"\lbrack": "[", r"\rbrack": "]", r"\lvert": "|", r"\rvert": "|", r"\vert": "|",
    r"\mid": "|", r"\ast": "*", r"\times": "*", r"\cdot": "*", r"\varnothing": r"\emptyset", r"\degree": r"^\circ",
    r"\degrees": r"^\circ", r"\lt": "<", r"\gt": ">", r"\land": r"\wedge", r"\to": r"\rightarrow", r"\dots": r"\ldots",
    r"\cdots": r"\ldots", r"\i": "i", r"\imath": "i", r"\colon": ":", r"\dbinom": r"\binom", r"\tbinom": r"\binom",
    r"\lg": r"\log", r"\langle": "(", r"\rangle": ")", r"\infin": r"\infty",
}  # fmt: skip
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_MONEY = re.compile(r"\\?[$£€]|\\pounds(?![a-zA-Z])|\\euro(?![a-zA-Z])")
_DEGREES = re.compile(r"\^\s*\{?\s*\\circ\s*\}?")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d)(?!,\d)")
_SCIENTIFIC = re.compile(r"(?<![\w.}])(\d+(?:\.\d*)?)[eE]([-+]?\d{1,3})(?![\w.])")
_SPACED_THOUSANDS = re.compile(r"-?\d{1,3}(?: \d{3})+(?:\.\d+)?")
_INFINITY = re.compile(r"(?<![a-zA-Z\\])(?:infinity|inf)(?![a-zA-Z])")
_MIXED = re.compile(r"(?<![\d.^_/}])(\d+) (\d+)/(\d+)(?![\d.^])")
_REPEATING = re.compile(r"(\d+)?\.(\d{0,30})\\(?:overline|bar)\s*\{?(\d{1,30})(?!\d)\}?")
_BLACKBOARD = re.compile(r"\\mathbb\s*([A-Z])")
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_PLAIN_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ₀₁₂₃₄₅₆₇₈₉", "0123456789-+n0123456789")
_ROOT = re.compile(r"√\s*(\d+(?:\.\d+)?)")
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`"), ('"', '"'))
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)")


def normalize(text: str) -> str:
    r"""One line of plain LaTeX: no dollar signs, sizes and spacing commands, one \frac, * for all products, \text{} for all text,
    no currency signs, no commas in 1,234, no full stop at the end. Degrees keep their ^\circ, percents their %."""
    text = text.strip()
    if text.isdecimal() and text.isascii():
        return text.lstrip("0") or "0"
    if not text.isascii():
        text = _ROOT.sub(r"\\sqrt{\1}", text)
        text = _RAISED.sub(lambda match: f"^{{{match[0].translate(_PLAIN_DIGITS)}}}", text)
        text = _LOWERED.sub(lambda match: f"_{{{match[0].translate(_PLAIN_DIGITS)}}}", text)
        text = text.translate(_TRANSLATION)
    text = _unwrap(text)
    if "\\" in text:
        text = text.replace("\\%", "%").replace("\\_", "_").replace("\\&", "&").replace("\\#", "#")
        text = _SIZES.sub("", text)
        text = _THIN_SPACES.sub("", text)
        text = _BOX.sub("", text)
        text = _FRACTIONS.sub(lambda _: r"\frac", text)
        text = _TEXTS.sub(lambda _: r"\text{", text)
        text = _REPEATING.sub(_fraction, text)
        text = _BLACKBOARD.sub(r"\\mathbb{\1}", text)
        text = _COMMAND.sub(lambda match: _SYNONYMS.get(match[0], match[0]), text)
        text = _DEGREES.sub(lambda _: r"^\circ", text)
    text = _MONEY.sub("", text)
    text = _SCIENTIFIC.sub(r"\1*10^{\2}", text)
    text = text.replace(">=", r"\ge ").replace("<=", r"\le ").replace("!=", r"\ne ")
    text = text.replace("{,}", ",").replace(r"{\ }", " ")
    text = _SPACES.sub(" ", text).strip()
    text = text.rstrip(" ,;:")
    while text.endswith(".") and not text.endswith(".."):
        text = text[:-1].rstrip(" ,;:")
    if "," in text:
        text = _outside_brackets(text, lambda part: _THOUSANDS.sub(lambda m: m[0].replace(",", ""), part))
    if _SPACED_THOUSANDS.fullmatch(text):
        text = text.replace(" ", "")
    text = _INFINITY.sub(r"\\infty", text)
    return _MIXED.sub(r"\1\\frac{\2}{\3}", text)


def _fraction(decimal: re.Match[str]) -> str:
    r"""0.1\overline{6} as \frac{15}{90}."""
    whole, fixed, repeated = decimal[1] or "0", decimal[2], decimal[3]
    return rf"\frac{{{int(whole + fixed + repeated) - int(whole + fixed)}}}{{{'9' * len(repeated) + '0' * len(fixed)}}}"


def _unwrap(text: str) -> str:
    r"""Without $...$, \(...\), **...**, \boxed{...} around the whole of it. A few rounds: nobody wraps deeper on purpose."""
    for _ in range(5):
        before = text
        for opening, closing in _WRAPPERS:
            if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing):
                inner = text[len(opening) : -len(closing)]
                if opening not in inner:
                    text = inner.strip()
        text = unwrap_command(text, r"\boxed")
        if text == before:
            break
    return text


def unwrap_command(text: str, command: str) -> str:
    """The argument, where the whole text is command{argument}; else the text as it is."""
    start = len(command)
    if text.startswith(command + "{") and closing_braces(text).get(start) == len(text) - 1:
        return text[start + 1 : -1].strip()
    return text


def _outside_brackets(text: str, change: Callable[[str], str]) -> str:
    """`change` applied to the stretches of text that no bracket encloses."""
    out: list[str] = []
    depth, start = 0, 0
    for position, character in enumerate(text):
        if character in "([{":
            if depth == 0:
                out.append(change(text[start:position]))
                start = position
            depth += 1
        elif character in ")]}":
            depth = max(0, depth - 1)
            if depth == 0:
                out.append(text[start : position + 1])
                start = position + 1
    rest = text[start:]
    out.append(change(rest) if depth == 0 else rest)
    return "".join(out)
