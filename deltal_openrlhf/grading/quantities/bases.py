r"""Whole numbers in a base: 204_5, (204)_{5}, 204_{\text{five}}, "101 in binary"."""

import re
from typing import NamedTuple

_BASE_WORDS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12,
    "sixteen": 16, "binary": 2, "ternary": 3, "octal": 8, "decimal": 10, "hexadecimal": 16, "hex": 16,
}  # fmt: skip
_DIGITS = r"\(?(?:\\text\s*\{\s*)?(-?[0-9A-Fa-f]{1,100}(?:\.[0-9A-Fa-f]{1,100})?)\s*\}?\)?"
_TEXT = r"(?:\\text\s*\{)?\s*"
_SUBSCRIPT = re.compile(
    _DIGITS + rf"\s*_\s*(?:(\d)|\{{\s*{_TEXT}\(?\s*(?:base\s*)?{_TEXT}(\d{{1,2}}|[a-z]{{2,12}})[\s)}}]*\}})"
)
_WORDED = re.compile(
    _DIGITS
    + rf"\s*{_TEXT}\(?\s*(?:in\s+)?(?:base[\s-]*(?:\}}\s*)?(\d{{1,2}}|[a-z]{{2,8}})|(binary|ternary|octal|hexadecimal|hex))"
    r"\s*\)?\s*\}?"
)
_SUBSCRIPTED = re.compile(r"\d[)}]?\s?_")


class InBase(NamedTuple):
    """worded: said in words ("in binary"), so that the number without them is another answer."""

    digits: str
    base: int
    worded: bool


def in_base(text: str) -> InBase | None:
    """A number with its base; None for any other text, such as A_1, and digits that the base does not have."""
    if "_" not in text and "base" not in text and "nary" not in text and "octal" not in text and "hex" not in text:
        return None
    match = _SUBSCRIPT.fullmatch(text)
    worded = match is None
    match = match or _WORDED.fullmatch(text)
    if match is None:
        return None
    name = match[2] or match[3]
    base = int(name) if name.isdecimal() else _BASE_WORDS.get(name, 0)
    digits = match[1].upper()
    figures = [digit for digit in digits if digit not in "-."]
    if not 2 <= base <= 16 or max(int(digit, 16) for digit in figures) >= base:
        return None
    if not any(map(str.isdecimal, figures)) and (base != 16 or len(figures) < 2):
        return None  # A_{12} is a name, FF_{16} is not
    return InBase(_significant(digits), base, worded)


def same_in_base(gold: str, pred: str) -> bool | None:
    """Whether two numbers, of which one names its base, have the same base and digits. A subscript may be left out, words may not.
    None where neither has a subscript or names a base."""
    numbers = in_base(gold), in_base(pred)
    if numbers[0] and numbers[1]:
        return numbers[0][:2] == numbers[1][:2]
    number = numbers[0] or numbers[1]
    if number is None:
        return False if _SUBSCRIPTED.search(gold) or _SUBSCRIPTED.search(pred) else None
    other = (pred if numbers[0] else gold).strip("() ").upper()
    return not number.worded and other.isascii() and _significant(other) == number.digits


def _significant(digits: str) -> str:
    sign, digits = digits[: digits.startswith("-")], digits.removeprefix("-")
    return sign + (digits.lstrip("0") or "0")
