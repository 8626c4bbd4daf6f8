r"""Times of day: 4:30 PM is 16:30, and 4:30 where the other side leaves the half of the day out."""

import re
from typing import NamedTuple

from deltal_openrlhf.grading.reading.text import TEXT

_TIME = re.compile(
    r"(\d{1,2})(?:\s?:\s?(\d{2}))?(?:\s?:\s?(\d{2}))?(?:\s?(?:([ap])\.?\s?m\.?|(o'?clock|noon|midnight)))?",
    re.IGNORECASE,
)
_ALONE = {"noon": "12 noon", "midnight": "12 midnight"}


class Time(NamedTuple):
    """half: "a" before noon, "p" after it, "" where nothing says so. is_clock: whether a word says that it is no ratio and no number."""

    hour: int
    minute: int
    second: int
    half: str
    is_clock: bool


def same_time(gold: str, pred: str) -> bool | None:
    """None where the two are no times of day, or where only 4:30 stands there, which may be a ratio."""
    marks = (gold + pred).lower()
    if "m" not in marks and "clock" not in marks and "noon" not in marks:
        return None
    a, b = _time(gold), _time(pred)
    if a is None or b is None or not (a.is_clock or b.is_clock):
        return None
    if a.half and b.half:
        return a == b
    said, bare = (a, b) if a.half else (b, a)
    hours = {said.hour, said.hour % 12 + 12 * (said.half == "p")} if said.half else {said.hour}
    return bare.hour in hours and said[1:3] == bare[1:3]


def _time(text: str) -> Time | None:
    text = " ".join(TEXT.sub(r" \1", text).split())
    match = _TIME.fullmatch(_ALONE.get(text.lower(), text))
    if match is None:
        return None
    hour, minute, second = (int(match[i] or 0) for i in (1, 2, 3))
    half = {"noon": "p", "midnight": "a"}.get((match[5] or "").lower(), (match[4] or "").lower())
    if minute > 59 or second > 59 or hour > 24 or (half and not 1 <= hour <= 12 and not (hour == 0 and half == "a")):
        return None
    return Time(hour, minute, second, half, bool(match[4] or match[5]))
