r"""What stands behind a number, in plain words: \text{ m}\cdot\text{s}^{-1} as "m*s^-1", 20 degrees Celsius as "degC"."""

import re

_TEXT = re.compile(r"\\text\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_TERM = r"\s*(?:\\text\{[^{}]*\}|[A-Za-z]{1,12}|\\(?:Omega|mu)(?![a-zA-Z]))(?:\s*\^\s*\{?\d\}?)?\s*"
_FRACTION = re.compile(rf"\\frac\s*\{{({_TERM}(?:\*?{_TERM})?)\}}\s*\{{({_TERM}(?:\*?{_TERM})?)\}}")
_DEGREE = re.compile(r"\^?\s*\{?\s*\\circ|\^\s*\{?\s*o(?![a-zA-Z])\s*\}?")
_MICRO = re.compile(r"\\mu\s*")
_ANGSTROM = re.compile(r"\\(?:AA(?![a-zA-Z])|mathring\s*(?:A(?![a-zA-Z])|\{A\}))")
_EXPONENT = re.compile(r"\^\s*\{\s*([-+]?\d{1,2})\s*\}")
_SPACES = re.compile(r"\s*([*/^()])\s*|\s+")
_ABBREVIATION = re.compile(r"(?<=[a-zA-Z])\.")
_WORDING = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?:°|\bdeg(?:rees?)?\b) ?([CFK])\b", r"deg\1"),
        (r"(?:(?:°|\bdeg(?:rees?)?\b) ?)?\b(?:[Cc]elsius|[Cc]entigrade)\b", "degC"),
        (r"(?:(?:°|\bdeg(?:rees?)?\b) ?)?\b[Ff]ahrenheit\b", "degF"),
        (r"(?:\bdegrees? )[Kk]elvins?\b|\bdegK\b", "K"),
        (r" ?\bper\b ?|(?<=\w) an? (?=[a-z]+$)", "/"),
        (r"\bUS (?=dollars?\b)", ""),
        (r"\b(?:sq|square)[ -]", "square "),
        (r"\b(?:cu|cubic)[ -]", "cubic "),
        (r"\b(N|kg)m\b", r"\1*m"),
        (r"\b(J|N|Pa)s\b", r"\1*s"),
        (r"\bms\^-", "m s^-"),  # nobody divides by milliseconds
        (r" squared\b", "^2"),
        (r" cubed\b", "^3"),
        (r"\b(nautical|light|metric|fluid|electron)[ -](mile|year|ton|ounce|volt)s?\b", r"\1_\2"),
    )
)


def plain_text(tail: str) -> str:
    """One line of words, * / ^ ( ) and signs. Two spellings of one unit may still differ."""
    if r"\frac" in tail:
        tail = _FRACTION.sub(r"\1/(\2)", tail)
    tail = _TEXT.sub(lambda match: f" {match[1].strip()}", tail)
    tail = tail.replace('"', "''")
    if "\\" in tail or "^" in tail or "{" in tail:
        tail = _ANGSTROM.sub("Å", _MICRO.sub("µ", tail.replace(r"\Omega", "Ω")))
        tail = _EXPONENT.sub(r"^\1", _DEGREE.sub("°", tail))
        tail = tail.replace("{", "").replace("}", "")
    tail = _SPACES.sub(lambda match: match[1] or " ", _ABBREVIATION.sub("", tail)).strip()
    for pattern, replacement in _WORDING:
        tail = pattern.sub(replacement, tail)
    return tail.strip()
