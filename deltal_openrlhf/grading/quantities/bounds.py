r"""Bounds in words: at least 5, 5 or more, no fewer than 5 and x \ge 5 say the same; at most 5 and more than 5 do not."""

import re
from typing import NamedTuple

from deltal_openrlhf.grading.leaves import Same
from deltal_openrlhf.grading.reading.numerals import in_digits
from deltal_openrlhf.grading.reading.text import in_one_line

_BEFORE = (
    (r"\ge", r"at least|(?:no|not) (?:less|fewer|smaller|lower) than|(?:greater|more|larger|bigger) than or equal to|a minimum of"),
    (
        r"\le", r"at most|(?:no|not) (?:more|greater|larger|higher|bigger) than|(?:less|fewer|smaller) than or equal to|a maximum of|up to"
        r"|not exceeding",
    ),
    (">", "(?:strictly )?(?:more|greater|larger|bigger|higher) than|over|above"),
    ("<", "(?:strictly )?(?:less|fewer|smaller|lower) than|under|below"),
)  # fmt: skip
_BEHIND = (
    (r"\ge", r",? (?:or|and) (?:more|greater|higher|above|over|larger|up)|,? at (?:the )?least|,? or at least that"),
    (r"\le", r",? (?:or|and) (?:less|fewer|lower|below|under|smaller)|,? at (?:the )?most"),
)
_MARK = re.compile(
    r"least|most|than|minimum|maximum|up to|exceed|over|above|under|below|more|less|fewer|greater|higher|smaller",
    re.IGNORECASE,
)
_SUBJECT = re.compile(
    r"(?P<name>[a-zA-Z]|\\[a-z]+) (?:is|must be|has to be|should be|can be) (?:any (?:real )?number )?(?=[a-z])"
)
_SIGNS = re.compile(
    r"(?P<name>[a-zA-Z]|\\[a-z]+)? ?(?P<sign><|>|\\[lg]e(?![a-z])) ?(?P<value>[^<>=\\]+|[^<>=]*\\(?:frac|sqrt|pi)[^<>=]*)"
)
_PLAIN_BEFORE = tuple((sign, re.compile(rf"(?:{words}) (?=\S)", re.IGNORECASE)) for sign, words in _BEFORE)
_PLAIN_BEHIND = tuple((sign, re.compile(rf"(?<=\S)(?:{words})", re.IGNORECASE)) for sign, words in _BEHIND)


class Bound(NamedTuple):
    """name: "" where nothing names what is bounded."""

    name: str
    sign: str
    value: str


def same_bound(gold: str, pred: str, same: Same) -> bool | None:
    """Whether two bounds are the same, of which one is in words. None where one of them is no bound."""
    worded = _in_words(gold), _in_words(pred)
    if not any(worded):
        return None
    a, b = worded[0] or _in_signs(gold), worded[1] or _in_signs(pred)
    if a is None or b is None:
        return None
    named = not a.name or not b.name or a.name == b.name
    return same(a.value, b.value) if named and a.sign == b.sign else False


def _in_words(text: str) -> Bound | None:
    if not _MARK.search(text):
        return None
    text = in_one_line(text)
    subject = _SUBJECT.match(text)
    name, said = (subject["name"], text[subject.end() :]) if subject else ("", text)
    for sign, before in _PLAIN_BEFORE:
        if match := before.match(said):
            return Bound(name, sign, in_digits(said[match.end() :]))
    for sign, behind in _PLAIN_BEHIND:
        if (match := behind.search(said)) and match.end() == len(said):
            return Bound(name, sign, in_digits(said[: match.start()]))
    return None


def _in_signs(text: str) -> Bound | None:
    match = _SIGNS.fullmatch(text)
    return Bound(match["name"] or "", match["sign"], match["value"]) if match else None
