r"""Light normalisation of an answer: what LaTeX and typography can write in several ways without meaning something else.

Only text in, text out; nothing is computed. Every pattern is linear in the length of the text. Signs, Chinese, numerals and sentences have
files of their own.
"""

import re
from collections.abc import Callable

from deltal_openrlhf.grading.function_names import IN_LATEX
from deltal_openrlhf.grading.reading.characters import in_latex
from deltal_openrlhf.grading.reading.chinese import without_chinese
from deltal_openrlhf.grading.reading.extract import closing_braces
from deltal_openrlhf.grading.reading.money import money_in_words
from deltal_openrlhf.grading.reading.numerals import in_digits, without_repetition
from deltal_openrlhf.grading.reading.sentences import stated, without_heading

# \\frac, as JSON and Python write \frac. A row of a matrix may begin with any other command.
_KNOWN = (
    r"[dt]?frac|sqrt|text(?:bf|it|rm)?|math(?:rm|bf|bb|it|sf)|boxed|left|right|pi|theta|alpha|beta|gamma|lambda|omega|circ|times|cdot|infty"
    r"|begin|end|pm|leq?|geq?|neq?|cup|cap|in|log|ln|sin|cos|tan|binom|[lc]?dots|angle|degree|overline|sum|approx|div|q?quad|emptyset"
    r"|varnothing|lfloor|rfloor|lceil|rceil|mid|operatorname|displaystyle|rightarrow|to"
)
_DOUBLED = re.compile(rf"(?<!\\)\\\\(?=(?:{_KNOWN})(?![a-zA-Z])|[%${{}}])")
_ENVIRONMENT = re.compile(r"(?<!\\)\\begin")
_SIZES = re.compile(
    r"\\(?:left|right|[bB]igg?[lrm]?)(?![a-zA-Z])\.?|\\(?:(?:display|text|script|scriptscript)style|(?:no)?limits|tiny|scriptsize"
    r"|footnotesize|small|normalsize|[lL]arge|LARGE|[hH]uge|boldmath|(?:bf|rm|it|sf|tt|em)(?!\s*\{)|strut|mathstrut|noindent|centering|allowbreak|nobreak|protect|null"
    r"|underline(?=\s*\{)|uu?line(?=\s*\{)|ensuremath(?=\s*\{)|smash(?=\s*\{)|math(?:op|bin|rel|ord|strut)(?=\s*\{)"
    r"|(?:text|math)color\s*(?:\[\w*\]\s*)?\{[^{}]*\}|colorbox\s*\{[^{}]*\}|color\s*(?:\[\w*\]\s*)?\{[^{}]*\}"
    r"|[hvm]space\*?\s*\{[^{}]*\}|[hm]?(?:skip|kern)\s*-?[\d.]+\s*(?:em|ex|pt|mu|cm|mm|in)|[hv]?phantom\s*\{[^{}]*\}|(?:tag|label)\s*\{[^{}]*\}"
    r"|(?:begin|end)\s*\{(?:equation|displaymath|math|center)\*?\}"
    r")(?![a-zA-Z])"
)
_SPACED_LETTERS = re.compile(r"(?<=[a-zA-Z])\\,(?=[a-zA-Z])")  # \pi\,r is not \pir
_THIN_SPACES = re.compile(r"(?<=\d),\\!\s*(?=\d{3})|(?<!\\)\\[!,]|\{\}")  # 1,\! 000 is one number
_SPACES = re.compile(
    r"(?:(?<!\\)\\[;:> ]|\\(?:q?quad|hfill|newline|enspace|enskip|(?:neg)?(?:thin|med|thick)space|par)(?![a-zA-Z])|(?<!\\)~|\\\n|\s)+"
)
_FRACTIONS = re.compile(r"\\(?:[dtc]frac|(?:nice|s|x|flat)frac(?:\[\w*\])?)(?![a-zA-Z])")
_STYLED = re.compile(
    r"\\(math(?:rm|bf|it|sf|tt|normal)|text(?:bf|it|rm|normal|sf|tt|up|sc|md)?|bm|boldsymbol|pmb|bold|emph|[mh]box|operatorname\*?|rm|bf|it)"
    r"\s*(?:\{([^{}]*)\}|\{)"
)
_SWITCHED = re.compile(r"\{\s*\\(rm|bf|it|sf|tt)\s+([^{}]*)\}")  # {\rm e}
_UPRIGHT = re.compile(r"\\(?:mathrm\s+(?=[ei])|math(?:bf|it|sf)\s+)([a-zA-Z\d])(?![a-zA-Z])")  # \mathrm e
_BOLD = ("mathbf", "mathit", "mathsf", "mathtt", "mathnormal", "bm", "boldsymbol", "pmb", "bold")
_OPERATORS = IN_LATEX - {"lcm"} | {"det", "deg"}
_SYNONYMS = {
    r"\leq": r"\le", r"\leqslant": r"\le", r"\leqq": r"\le", r"\geq": r"\ge", r"\geqslant": r"\ge", r"\geqq": r"\ge", r"\neq": r"\ne",
    r"\div": "/", r"\lbrace": r"\{", r"\rbrace": r"\}", r"\lbrack": "[", r"\rbrack": "]", r"\lvert": "|", r"\rvert": "|", r"\vert": "|",
    r"\mid": "|", r"\ast": "*", r"\times": "*", r"\cdot": "*", r"\varnothing": r"\emptyset", r"\degree": r"^\circ",
    r"\degrees": r"^\circ", r"\lt": "<", r"\gt": ">", r"\land": r"\wedge", r"\lor": r"\vee", r"\to": r"\rightarrow", r"\dots": r"\ldots",
    r"\cdots": r"\ldots", r"\dotsc": r"\ldots", r"\i": "i", r"\imath": "i", r"\colon": ":", r"\dbinom": r"\binom",
    r"\tbinom": r"\binom", r"\lg": r"\log", r"\langle": "(", r"\rangle": ")", r"\infin": r"\infty", r"\thickapprox": r"\approx",
}  # fmt: skip
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_MONEY = re.compile(
    r"(?:(?<![A-Za-z])(?:US|HK|NT|CA|AU|NZ|SG)\s?(?=\\?\$\s?\.?\d))?(?<!\\text\{ )\\?[$£€¥₹₩₽₱฿₺₫₴₪]"
    r"|\\(?:pounds|euro|yen|text(?:dollar|euro|sterling))(?![a-zA-Z])|^\s*(?:Rs\.?|INR|USD|EUR|GBP|CNY|RMB|JPY)\s*(?=-?\.?\d)"
)
_DEGREES = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z]))\s?(?=([a-zA-Z])?)")
_DEGREE_O = re.compile(r"(?<=\d)\s*\^\s*\{\s*o\s*\}")
_PRIMES = re.compile(r"\^\s*\{\s*(?:\\prime\s*){1,4}\}|\^\s*\\prime(?![a-zA-Z])")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d)(?!,\d)")
_SCIENTIFIC = re.compile(r"(?<![\w.}])(\d+(?:\.\d*)?)[eE]([-+]?\d{1,3})(?!\w|\.\d)")
_TIMES = re.compile(r"(?<=\d)\s*[xX]\s*(?=10\s*(?:\^|\*\*))|(?<=\d) [xX] (?=\d)")
_SPACED_THOUSANDS = re.compile(r"-?\d{1,3}(?: \d{3})+(?:\.\d+)?")
_INFINITY = re.compile(r"(?<![a-zA-Z\\])(?:[iI]nfinity|inf|oo)(?![a-zA-Z])")
_MIXED = re.compile(r"(?<![\d.^_/}])(\d+) (\d+)/(\d+)(?![\d.^])")
_BLACKBOARD = re.compile(r"\\mathbb\s*([A-Z])")
_BIG_O = re.compile(r"\\(?:mathcal|text)\s?(?:\{\s?O\s?\}|O)(?=\s?\()")
_DELIMITERS = re.compile(r"(?<!\\)\\[()\[\]]")
_WRAPPERS = (
    ("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), (r"\\(", r"\\)"), (r"\\[", r"\\]"), ("**", "**"), ("```", "```"), ("`", "`"),
    ('"', '"'), ("'", "'"),
)  # fmt: skip
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)")
_ENDS = " ,;:\\"


def normalize(text: str) -> str:
    r"""One line of plain LaTeX: no dollar signs, sizes, colours and spacing commands, one \frac, * for all products, \text{} for all
    text, no currency signs, no commas in 1,234, no full stop at the end, no sentence around a value, no digits in words. Degrees keep
    their ^\circ, percents their %."""
    text = text.strip()
    if text.isdecimal() and text.isascii():
        return text.lstrip("0") or "0"
    if not text.isascii():
        text = without_chinese(in_latex(text))
    text = _unwrap(without_heading(text).lstrip("# "))
    if "\\" in text:
        text = _plain_commands(text)
    if '"' in text:
        text = re.sub(r"(?<=[\d}])\s*\"", "''", text)
    if "o}" in text:
        text = _DEGREE_O.sub(r"^\\circ ", text)
    text = _MONEY.sub("", money_in_words(text))
    text = _SCIENTIFIC.sub(r"\1*10^{\2}", text)
    text = _TIMES.sub("*", text)
    text = text.replace(">=", r"\ge ").replace("<=", r"\le ").replace("!=", r"\ne ")
    text = text.replace("{,}", ",").replace(r"{\ }", " ")
    text = without_repetition(text)
    if "..." in text:
        text = re.sub(r"\.{3,}", r" \\ldots ", text)
    text = _SPACES.sub(" ", text)
    text = _without_stops(text)
    text = in_digits(_without_stops(stated(text)))
    if text.startswith("{"):
        text = unwrap_command(text, "") if "," not in text else text
    if "," in text:
        text = _outside_brackets(text, lambda part: _THOUSANDS.sub(lambda m: m[0].replace(",", ""), part))
    if _SPACED_THOUSANDS.fullmatch(text):
        text = text.replace(" ", "")
    text = _INFINITY.sub(r"\\infty", text)
    return _MIXED.sub(r"\1\\frac{\2}{\3}", text)


def _plain_commands(text: str) -> str:
    """LaTeX with one command for each thing."""
    if "\\\\" in text and _DOUBLED.search(text) and not _ENVIRONMENT.search(text):
        text = _unwrap(text.replace("\\\\", "\\"))
    text = text.replace("\\%", "%").replace("\\_", "_").replace("\\&", "&").replace("\\#", "#")
    text = _SIZES.sub("", text)
    text = _DELIMITERS.sub(" ", text)
    text = _THIN_SPACES.sub("", _SPACED_LETTERS.sub(" ", text))
    text = _BOX.sub("", text)
    text = _FRACTIONS.sub(lambda _: r"\frac", text)
    text = _UPRIGHT.sub(r" \1", text)
    text = _SWITCHED.sub(r"\\math\1{\2}", text)
    text = _STYLED.sub(_plain_style, text)
    text = _BIG_O.sub("O", text)
    text = _BLACKBOARD.sub(r"\\mathbb{\1}", text)
    text = _PRIMES.sub(lambda match: "'" * match[0].count("prime"), text)
    text = _COMMAND.sub(lambda match: _SYNONYMS.get(match[0], match[0]), text)
    return _DEGREES.sub(lambda match: r"^\circ " if match[1] else r"^\circ", text)


def _plain_style(match: re.Match[str]) -> str:
    r"""\text{} for text; letters and digits in bold or upright as they are: \mathbf{x}, \mathrm{e}, \mathrm{2A3}."""
    command, content = match[1], match[2]
    if content is None:
        return r"\text{"
    content = content.strip()
    if command.startswith("operatorname") and content in _OPERATORS:
        return f"\\{content} "
    if content in ("e", "i") or command in _BOLD and not re.search("[a-zA-Z]{2}", content):
        return f" {content}" if len(content) == 1 else f"{{{content}}}"
    if command == "mathrm" and re.fullmatch(r"(?=.*\d)[\dA-F]+", content):
        return f" {content}"
    return rf"\text{{{match[2]}}}"


def _without_stops(text: str) -> str:
    text = text.strip().rstrip(_ENDS)
    while text.endswith(".") and not text.endswith(".."):
        text = text[:-1].rstrip(_ENDS)
    return text


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
