r"""Words among numbers: 10 in binary, 4 choose 2, \text{Var}(X) + 1. Both sides have to say the same, and words are no factors."""

import re

from deltal_openrlhf.grading.function_names import IN_LATEX
from deltal_openrlhf.grading.leaves import Same, all_of
from deltal_openrlhf.grading.reading.text import TEXT

_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{[a-zA-Z]+\*?\}")
_WORD = re.compile("[a-zA-Z]{2,}")
_LONG_WORD = re.compile(r"(?<![\\a-zA-Z])(?:[a-zA-Z]{4,}|(?:[Nn]ot|nor|but|and|[a-z]{2,4}n't)(?![a-zA-Z]))")
"""Longer than a product of letters, or never one."""
_CHINESE = re.compile("[\u4e00-\u9fff]+")
_MATH_WORDS = IN_LATEX | set("sqrt sup inf det deg dim arg pi frac infty".split())
_SPOKEN = re.compile(r"\\text\s*\{[^{}]*\}|(?<![\\a-zA-Z])[a-zA-Z]{3,}|[\u4e00-\u9fff]+")
_COUNTED = re.compile(r"\d (?=[a-zA-Z]{3})|(?<![\\a-zA-Z])[a-zA-Z]{3,}:? (?=\d)")
_OPERATORS = frozenset("+-*/=")


def same_spoken(gold: str, pred: str, leaf: Same) -> bool | None:
    """Whether two expressions say the same words, with the same values before, between and behind them: 4 choose 2 is not 2 choose 4.
    Only words that operators part from the rest may stand elsewhere: 10 + \text{age}."""
    words = _words(gold)
    if words != _words(pred):
        return False
    if not words and len(_COUNTED.findall(gold)) < 2:
        return leaf(gold, pred)
    if not _is_beside(gold) and not _is_beside(pred):
        return leaf(gold, pred)
    if _sequence(gold) != _sequence(pred):
        return False
    stretches = ([part.strip() for part in _SPOKEN.split(text)] for text in (gold, pred))
    return all_of(a == b or (bool(a and b) and leaf(a, b)) for a, b in zip(*stretches, strict=True))


def _words(text: str) -> set[str]:
    if text.isascii() and r"\text" not in text and not _LONG_WORD.search(text):
        return set()
    text = _ENVIRONMENT.sub("", text)
    said = [word for spoken in TEXT.findall(text) for word in _WORD.findall(spoken)]
    words = (*said, *_LONG_WORD.findall(text), *_CHINESE.findall(text))
    return {word.casefold() for word in words if word not in _MATH_WORDS}


def _is_beside(text: str) -> bool:
    """Whether a word stands next to something that is no operator."""
    for word in _SPOKEN.finditer(text):
        around = text[: word.start()].rstrip()[-1:], text[word.end() :].lstrip()[:1]
        if word[0] not in _MATH_WORDS and any(side and side not in _OPERATORS for side in around):
            return True
    return False


def _sequence(text: str) -> list[str]:
    return [TEXT.sub(r"\1", word).strip().casefold() for word in _SPOKEN.findall(text)]
