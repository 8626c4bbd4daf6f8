r"""Notations that say the same: 2 to 3 and 2:3, \max\{a, b\} and \max(a, b), "all real numbers" and \mathbb{R}, and so on."""

import re

from deltal_openrlhf.grading.parts.counting import with_binomials
from deltal_openrlhf.grading.parts.matrices import unit_vectors
from deltal_openrlhf.grading.parts.polar import with_named_coordinates, without_cis
from deltal_openrlhf.grading.parts.structure import split_at
from deltal_openrlhf.grading.parts.systems import without_environments
from deltal_openrlhf.grading.reading.normalize import unwrap_command

_EXTREME = re.compile(r"(\\(?:max|min|gcd|sup|inf)|\\text\s?\{\s?(?:max|min|gcd|lcm)\s?\})\s?\\\{([^{}]*)\\\}")
_TO = re.compile(r"\\text\s?\{\s?to\s?\}|(?<=[\s\d}])to(?=[\s\d\\])")
_TERM = re.compile(r"(?!.*[a-zA-Z]{2})[-\w.+*/^(){} ]+|\\(?:frac|sqrt)[\w.{}]+")
_REALS = re.compile(
    r"(?:[a-z]\s(?:is|can be)\s)?(?:the\sset\sof\s)?(?:all|any|every)\s(?:the\s)?reals?(?:\s(?:numbers?|values?))?(?:\s(?:of\s)?[a-z])?",
    re.IGNORECASE,
)
_POINT = re.compile(
    r"(?:\\text\s?\{\s?)?(?:the\s)?point\s?(?:[A-Z]\s?)?\}?\s?(?:[A-Z]\s?)?(?:at\s)?(?=[(\\])", re.IGNORECASE
)
_REALS_EXCEPT = re.compile(
    r"(?:the\sset\sof\s)?(?:all|any)\sreals?(?:\snumbers?)?(?:\s[a-z])?,?\s(?:except(?:\sfor)?|other than|but|excluding|without)\s"
    r"(?:[a-z]\s?=\s?)?((?:[^a-z]|and(?![a-z])|or(?![a-z]))+)",
    re.IGNORECASE,
)
_SIGNED_REALS = re.compile(
    r"(?:the\sset\sof\s)?(?:all\s|any\s|every\s)?(positive|negative|non-?negative|non-?positive|non-?zero)\sreals?(?:\snumbers?)?(?:\s[a-z])?",
    re.IGNORECASE,
)
_SIGNED = {
    "positive": r"(0,\infty)", "negative": r"(-\infty,0)", "nonnegative": r"[0,\infty)", "nonpositive": r"(-\infty,0]",
    "nonzero": r"\mathbb{R}\setminus\{0\}",
}  # fmt: skip
_NO_SOLUTION = re.compile(r"(?:there (?:is|are) )?no (?:real )?solutions?(?: exists?)?", re.IGNORECASE)
_EMPTY = re.compile(r"(?:the\s)?(?:empty|null)\sset", re.IGNORECASE)
_ROW_BREAK = re.compile(r"\\\\\s?(?=[a-zA-Z](?:_\w)?\s?=)")
_SEMICOLON = re.compile(r"[(\[\]][^,;()\[\]]*(?:;[^,;()\[\]]*)+[)\]\[]")
_OUTWARD = re.compile(r"(?P<low>[\[\]])(?P<ends>[^\[\]]*,[^\[\]]*)(?P<high>[\[\]])")
_MAPPING = re.compile(r"([fgh])\s?:\s?([a-z])\s?\\mapsto(?![a-z])\s?")
_CONDITION = (
    r"[^()=,]{1,30}(?:<|>|\\(?:le|ge|ne|in)(?![a-z]))[^()=]{1,30}?|[a-z]\s?\\in(?![a-z])\s?[(\[][^()\[\]=]{1,30}[)\]]"
)
_DOMAIN = re.compile(
    r"(?<=[^=<>\s,])\s?,?\s?"
    rf"(?:\(\s?(?:(?:\\text\s?\{{\s?)?(?:for|if|when|where|with)(?![a-z])\s?\}}?\s?)?({_CONDITION})\s?\)"
    rf"|(?:\\text\s?\{{\s?)?(?<![a-z\\])(?:for|if|when|where|with)(?![a-z])\s?\}}?\s?({_CONDITION}))$"
)
"""(x > 0) and "for x > 0" at the end of an equation."""
_NOTE = re.compile(r"(?<=\d)(?:\s?\(\s?\\text\s?\{\s?([^{}()]+)\}|\s\(([a-z]{3,}))\s?\)$")


def plain_notation(text: str) -> str:
    """One spelling of each, in an answer that was normalised."""
    if r"\begin{" in text:
        text = without_environments(text)
    elif r"\\" in text:
        text = _ROW_BREAK.sub(", ", text)
    if "{}" in text:
        text = text.replace("{}", "")  # {}^{10}C_3
    text = with_binomials(text)
    if r"\mapsto" in text:
        text = _MAPPING.sub(r"\1(\2) = ", text, count=1)
    if r"\{" in text:
        if text.replace(" ", "") == r"\{\}":
            return r"\emptyset"
        text = _EXTREME.sub(r"\1(\2)", text)
    if "to" in text:
        terms = split_at(unwrap_command(text, r"\text"), _TO)[0]
        if len(terms) > 1 and all(map(_TERM.fullmatch, terms)):
            text = ":".join(terms)
    if text[:1] in ("(", "[", "]"):
        text = r"\cup ".join(map(_interval, text.split(r"\cup")))
    if "eal" in text or "set" in text:
        text = _named_set(re.sub(r"\\text\s?\{([^{}]*)\}", r"\1", text)) or text
    if "cis" in text or "coordinates" in text or " form" in text:
        text = with_named_coordinates(without_cis(text))
    if "=" in text and (domain := _DOMAIN.search(text)):
        text = f"{text[: domain.start()]}, {domain[1] or domain[2]}"
    if "oint" in text and (point := _POINT.match(text)):
        text = text[point.end() :]
    if text.endswith(")"):
        text = _NOTE.sub(lambda note: rf" \text{{{(note[1] or note[2]).strip()}}}", text)  # 47.5 (pounds)
    return unit_vectors(text) if "\\" in text else text


def is_empty(text: str) -> bool:
    r"""\emptyset, and "no solution" for it."""
    return text == r"\emptyset" or bool(_NO_SOLUTION.fullmatch(unwrap_command(text, r"\text")))


def _named_set(text: str) -> str | None:
    if _REALS.fullmatch(text):
        return r"\mathbb{R}"
    if _EMPTY.fullmatch(text):
        return r"\emptyset"
    signed = _SIGNED_REALS.fullmatch(text)
    if signed:
        return _SIGNED[signed[1].lower().replace("-", "")]
    excepted = _REALS_EXCEPT.fullmatch(text)
    return rf"\mathbb{{R}}\setminus\{{{excepted[1]}\}}" if excepted else None


def _interval(text: str) -> str:
    """]1, 2[ as (1, 2), and (1; 2) as (1, 2)."""
    text = text.strip()
    if _SEMICOLON.fullmatch(text) and text.count(";") < 4 and not (text[0] == "[" and text[-1] == "]"):
        text = text.replace(";", ",")
    outward = _OUTWARD.fullmatch(text) if text[:1] == "]" or text[-1:] == "[" else None
    if outward:
        return f"{'(' if outward['low'] == ']' else '['}{outward['ends']}{')' if outward['high'] == '[' else ']'}"
    return text
