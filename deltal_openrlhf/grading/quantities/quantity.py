r"""A number and its unit, read from a text: 12\pi\text{ cm}^2, 5 km/h, 1.5 million dollars, 30^\circ."""

import re
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from deltal_openrlhf.grading.quantities.scales import scaled
from deltal_openrlhf.grading.quantities.unit_text import plain_text
from deltal_openrlhf.grading.quantities.units import MAX_CHARS, Unit, read_unit

_VALUE = re.compile(r"(?:\\(?:frac|sqrt|pi|pm|binom)(?![a-zA-Z])|[-+*/^!(){}\[\].\d\s])+(?<=[\d)}\]!i])")
_SPACED_THOUSANDS = re.compile(r"-?\d{1,3}(?: \d{3})+(?:\.\d+)?")
_DEGREE_IN_SUM = re.compile(r"[\d)}]\^\\circ\s?[-+]")
_NUMERIC_COMMAND = re.compile(r"\\(?:frac|sqrt|pi|pm|binom)(?![a-z])")
_OF_ANGLE = re.compile(r"(?<![a-zA-Z])(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_BRACKETS = (("{", "}"), ("(", ")"), ("[", "]"))

# Units of letters, without \text{}: each letter may be a variable as well.
_APART = frozenset("msghlNJWVKCFL") | frozenset(
    "m^2,m^3,m/s,m/s^2,m/s/s,m^3/s,m s^-1,m s^-2,m*s^-1,m*s^-2,N m,N-m,N*m,N/m,N/m^2,N/C,N s,N*s,J/K,J/s,J s,J-s,J*s,V/m,W/m^2,g/L,C/s"
    .split(",")
)  # fmt: skip
"""Units where a space is before them: 5 m, but not 3 x."""
_JOINED = frozenset(("s", "m/s", "m/s^2"))
"""Units also where none is: $2s$, but not 6m."""
_BEHIND_PI = frozenset(("m^2", "m^3"))
r"""Units behind \pi, whose space LaTeX needs: 3\pi m^2, but not 2\pi m."""
_JOINED_SYMBOLS = frozenset("cm mm km kg ml mL ft hr min sec lb lbs oz mph kph Hz kHz MHz kW kWh GB MB".split())
"""Longer symbols that are no products either: 5cm, but not 2mg."""


class Certainty(IntEnum):
    """Of a unit, which may be a variable."""

    BESIDE_UNITS = 0
    """5m: a unit if the other side has one for sure."""
    BESIDE_NUMBERS = 1
    """5 m: a unit also if the other side is a number."""
    CERTAIN = 2


class Quantity(NamedTuple):
    """value: LaTeX of the number, with "million" and the like multiplied in. unit: None where there is none."""

    value: str
    unit: Unit | None = None
    certainty: Certainty = Certainty.CERTAIN


def is_numeric(value: str) -> bool:
    """Digits or \\pi, and no letter but those of commands."""
    return bool(re.search(r"\d|\\pi", value)) and not re.search("[a-zA-Z]", _NUMERIC_COMMAND.sub("", value))


def is_of_angle(text: str) -> bool:
    return bool(_OF_ANGLE.search(text))


@lru_cache(maxsize=4096)
def read(text: str) -> Quantity:
    """The number and the unit of a text; the whole text as the value where it has no unit or says something else."""
    match = _VALUE.match(text)
    if match is None:
        return _expression_with_unit(text)
    value, tail = match[0].strip(), text[match.end() :]
    if not tail:
        return Quantity(text)
    if _SPACED_THOUSANDS.fullmatch(value):
        value = value.replace(" ", "")
    if len(tail) > 2 * MAX_CHARS or not is_numeric(value) or not _is_balanced(value):
        return _expression_with_unit(text)
    words = plain_text(tail)
    joined = tail.lstrip("{")[:1].isalpha()
    if not joined or re.match("[a-z]{4}", tail):
        value, words = scaled(value, words)
        if not words:
            return Quantity(value)
    unit = read_unit(words)
    if unit is None:
        return _expression_with_unit(text)
    certain = r"\text" in tail or not (unit.bare or joined)
    return Quantity(value, unit, Certainty.CERTAIN if certain else _certainty(value, words, unit, joined))


def _certainty(value: str, words: str, unit: Unit, joined: bool) -> Certainty:
    if unit.bare:
        known = _BEHIND_PI if value.endswith(r"\pi") else _JOINED if joined else _APART
        return Certainty.BESIDE_NUMBERS if words in known else Certainty.BESIDE_UNITS
    symbol = re.match("[A-Za-z]+", words)
    known_symbol = symbol is not None and (len(symbol[0]) > 3 or symbol[0] in _JOINED_SYMBOLS)
    return Certainty.CERTAIN if known_symbol or "/" in words else Certainty.BESIDE_UNITS


def _expression_with_unit(text: str) -> Quantity:
    r"""x \text{ cm}, (180-x)^\circ, 180^\circ-x: behind an expression only degrees and what \text{} marks, and no noun."""
    start = text.find(r"\text") if r"\text" in text else text.find(r"^\circ")
    if start <= 0 or len(text) - start > 2 * MAX_CHARS or is_of_angle(text):
        return Quantity(text)
    if _DEGREE_IN_SUM.search(text):
        return Quantity(text.replace(r"^\circ", ""), read_unit("°"))
    value = text[:start].rstrip(" *")
    unit = read_unit(plain_text(text[start:]))
    whole = value and value[-1] not in "+-/^_({[=<>,|&" and _is_balanced(value)
    if unit is None or unit.counts or not whole or re.search("[a-zA-Z]{3}", _COMMAND.sub("", value)):
        return Quantity(text)
    return Quantity(value, unit)


def _is_balanced(value: str) -> bool:
    return all(value.count(opening) == value.count(closing) for opening, closing in _BRACKETS)
