"""Days of the year: March 5, 5 March, the 5th of March, Mar. 5, 2021. Figures alone are no date: 3/5 is a fraction."""

import re
from typing import NamedTuple

from deltal_openrlhf.grading.reading.text import TEXT

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMES = (
    r"(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"(\d{1,2}) ?(?:\^?\{?(?:st|nd|rd|th)\}?)?"
_WEEKDAY = r"(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day,? )?(?:the )?"
_YEAR = r"(?:,? (\d{4}))?"
_MONTH_FIRST = re.compile(f"{_WEEKDAY}{_NAMES} (?:the )?{_DAY}{_YEAR}")
_DAY_FIRST = re.compile(f"{_WEEKDAY}{_DAY} (?:of )?{_NAMES}{_YEAR}")
_MONTH = re.compile("|".join(_MONTHS), re.IGNORECASE)


class Date(NamedTuple):
    """year: None where the text leaves it out."""

    month: int
    day: int
    year: str | None


def same_date(gold: str, pred: str) -> bool | None:
    """Whether two dates are the same, as far as both name the year. None where one of them is no date."""
    if not _MONTH.search(gold) or not _MONTH.search(pred):
        return None
    a, b = _date(gold), _date(pred)
    if a is None or b is None:
        return None
    return a[:2] == b[:2] and (a.year == b.year or None in (a.year, b.year))


def _date(text: str) -> Date | None:
    text = " ".join(TEXT.sub(r" \1", text).lower().split())
    if match := _MONTH_FIRST.fullmatch(text):
        month, day, year = match.groups()
    elif match := _DAY_FIRST.fullmatch(text):
        day, month, year = match.groups()
    else:
        return None
    return Date(_MONTHS.index(month[:3]), int(day), year) if 1 <= int(day) <= 31 else None
