r"""Changes in words: a 20\% increase, an increase of 20\%, increased by 20\%, up 20\%; a decrease of 4\% is -4\%. Profit and loss too."""

import re
from typing import NamedTuple

from deltal_openrlhf.grading.leaves import Same
from deltal_openrlhf.grading.reading.numerals import in_digits
from deltal_openrlhf.grading.reading.sentences import starts_with_value

_WORDS = {
    "up": r"increas(?:e[sd]?|ing)|ris(?:e[sn]?|ing)|rose|growth|grew|grows|grown|up|higher",
    "down": r"decreas(?:e[sd]?|ing)|falls?|fallen|fell|drop(?:s|ped)?|decline[sd]?|reduc(?:tion|ed|es)|down|lower",
    "profit": "profit|gain(?:ed|s)?",
    "loss": "loss|lost|loses",
    "discount": "discount|off",
    "markup": "mark-?up",
}
_ANY = "|".join(f"(?P<{direction}>{words})" for direction, words in _WORDS.items())
_MARK = re.compile(
    r"creas|ris|rose|gr[eo]w|up|high|fall|fell|drop|declin|reduc|down|low|profit|gain|loss|lost|lose|discount|off",
    re.IGNORECASE,
)
_SUBJECT = r"(?:(?!not\b|no\b|never\b|by\b|of\b)[a-z']+ ){0,5}?"
_BEFORE = re.compile(rf"{_SUBJECT}(?:{_ANY})(?: (?:of|by|is)|:| =)? (?P<value>.+)", re.IGNORECASE)
_BEHIND = re.compile(rf"(?:an? |the )?(?P<value>.+?)[ -](?:{_ANY})", re.IGNORECASE)
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_SIGNED = {"-": "down", "+": "up"}


class Change(NamedTuple):
    direction: str
    value: str


def same_change(gold: str, pred: str, same: Same) -> bool | None:
    """Whether two changes have one direction and one size. A sign says the direction as well, no sign does not. None where one of them is
    no change."""
    worded = _in_words(gold), _in_words(pred)
    if not any(worded):
        return None
    a, b = worded[0] or _in_signs(gold), worded[1] or _in_signs(pred)
    if a is None or b is None:
        return None
    return same(a.value, b.value) if a.direction == b.direction else False


def _in_words(text: str) -> Change | None:
    if not _MARK.search(text):
        return None
    text = " ".join(_TEXT.sub(r" \1 ", text).split())
    for form in (_BEFORE, _BEHIND):
        match = form.fullmatch(text)
        value = in_digits(match["value"]) if match else ""
        if match and value[0] not in "+-" and starts_with_value(value):
            return Change(next(name for name in _WORDS if match[name]), value)
    return None


def _in_signs(text: str) -> Change | None:
    direction = _SIGNED.get(text[:1])
    return Change(direction, text[1:].strip()) if direction and text[1:].strip()[:1].isdigit() else None
