r"""Changes and movements in words: a 20\% increase, increased by 20\%, up 20\%; 5 m to the left. A decrease of 4\% is -4\%."""

import re
from typing import NamedTuple

from deltal_openrlhf.grading.leaves import Same
from deltal_openrlhf.grading.reading.denials import DENIAL
from deltal_openrlhf.grading.reading.numerals import in_digits
from deltal_openrlhf.grading.reading.sentences import starts_with_value
from deltal_openrlhf.grading.reading.text import in_one_line

_CHANGES = {
    "up": r"increas(?:e[sd]?|ing)|ris(?:e[sn]?|ing)|rose|growth|grew|grows|grown|up|higher",
    "down": r"decreas(?:e[sd]?|ing)|falls?|fallen|fell|drop(?:s|ped)?|decline[sd]?|reduc(?:tion|ed|es)|down|lower",
    "profit": "profit|gain(?:ed|s)?",
    "loss": "loss|lost|loses",
    "discount": "discount|off",
    "markup": "mark-?up",
}
_DIRECTIONS = {
    "left": "left|leftwards?", "right": "right|rightwards?", "upward": "upwards?", "downward": "downwards?", "north": "north|northwards?",
    "south": "south|southwards?", "east": "east|eastwards?", "west": "west|westwards?", "clockwise": "clockwise",
    "counterclockwise": "counter-?clockwise|anti-?clockwise", "forward": "forwards?", "backward": "backwards?",
}  # fmt: skip
_ALL = _CHANGES | _DIRECTIONS
_WORD = "|".join(_ALL.values())
_MARK = re.compile(
    r"creas|ris|rose|gr[eo]w|up|high|fall|fell|drop|declin|reduc|down|low|profit|gain|loss|lost|lose|discount|off|left|right|th|st|wise|ward",
    re.IGNORECASE,
)
_SUBJECT = r"(?P<subject>(?:(?!by\b|of\b)[a-z']+ ){0,5}?)"
_BEFORE = re.compile(
    rf"{_SUBJECT}(?P<said>{'|'.join(_CHANGES.values())})(?: (?:of|by|is)|:| =)? (?P<value>.+)", re.IGNORECASE
)
_BEHIND = re.compile(
    rf"(?P<subject>)(?:an? |the )?(?P<value>.+?)(?:[ -]|, )(?:to the |towards? (?:the )?|due |in the )?(?P<said>{_WORD})(?: direction)?",
    re.IGNORECASE,
)
_NAME = {direction: re.compile(words, re.IGNORECASE) for direction, words in _ALL.items()}
_OTHER_WORDS = re.compile(
    rf"(?<![a-z\\])(?:{_WORD}|and|or|then|followed|after|before|from|to|but)(?![a-z])", re.IGNORECASE
)
_TIMES = re.compile(r"\b(?:twice|half|double|triple|thrice)\b", re.IGNORECASE)
_ARTICLE = re.compile(r"(?:the|an?|its?) ")
_SIGNED = {"-": "down", "+": "up"}


class Change(NamedTuple):
    """subject: what changes; "" where nothing says so."""

    subject: str
    direction: str
    value: str


def same_change(gold: str, pred: str, same: Same) -> bool | None:
    """Whether two changes or movements have one direction and one size. A sign says the direction of a change as well, no sign does not.
    None where one of them is no change."""
    worded = _in_words(gold), _in_words(pred)
    if not any(worded):
        return None
    a, b = worded[0] or _in_signs(gold), worded[1] or _in_signs(pred)
    if a is None or b is None:
        return None
    subjects = {a.subject, b.subject} - {""}
    if a.direction != b.direction or len(subjects) > 1 or ("%" in a.value) != ("%" in b.value):
        return False
    return same(a.value, b.value)


def _in_words(text: str) -> Change | None:
    if not _MARK.search(text):
        return None
    text = in_one_line(text)
    for form in (_BEFORE, _BEHIND):
        match = form.fullmatch(text)
        if match and (DENIAL.search(match["subject"]) or _TIMES.search(match["subject"])):
            return None
        value = in_digits(match["value"]).replace("percent", "%") if match else ""
        if match and value[0] not in "+-" and starts_with_value(value) and not _OTHER_WORDS.search(value):
            direction = next(name for name, words in _NAME.items() if words.fullmatch(match["said"]))
            return Change(_ARTICLE.sub("", match["subject"].lower()).strip(), direction, value)
    return None


def _in_signs(text: str) -> Change | None:
    direction = _SIGNED.get(text[:1])
    return Change("", direction, text[1:].strip()) if direction and text[1:].strip()[:1].isdigit() else None
