r"""The unit that plain words name, as powers of pint's names.

A grammar of its own: names, exponents of one digit, * / -, one level of brackets. No parser of a library sees the text of an
answer: its names are looked up one by one.
"""

import re
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from deltal_openrlhf.grading.quantities.conversion import Powers
from deltal_openrlhf.grading.quantities.nouns import counted, divides, without_harmless
from deltal_openrlhf.grading.quantities.unit_names import names_of

MAX_CHARS = 80
_MAX_PARTS = 6
_MAX_EXPONENT = 9

_TOKEN = re.compile(
    r" ?(?:(?P<power>square |cubic )?(?P<name>[A-Za-zµΩÅ_]+|[°¥]|''|')(?:\^(?P<exponent>[-+]?\d{1,2})|(?<=m)(?P<digit>[23])(?!\d))?"
    r"|(?P<sign>[*/()-]))"
)


class Part(NamedTuple):
    name: str
    exponent: int


class Unit(NamedTuple):
    """meanings: what it may measure, the usual one first. bare: letters only, each of which may be a variable as well. counts: nouns."""

    meanings: tuple[Powers, ...]
    bare: bool = False
    counts: bool = False


@lru_cache(maxsize=4096)
def read_unit(words: str) -> Unit | None:
    """The unit or counted noun of plain words (unit_text.py); None where they may say something else of the number before them."""
    if not words or len(words) > MAX_CHARS:
        return None
    bracketed = words[0] == "(" and words[-1] == ")" and words.count("(") == 1
    words = without_harmless(words[1:-1] if bracketed else words)
    parts = _parts(words)
    if not parts:
        return None
    bare = all(len(part.name) == 1 and part.name.isascii() and part.name.isalpha() for part in parts)
    readings = [names_of(part.name) for part in parts]
    if not all(readings):
        return _with_nouns(parts, readings)
    if len(parts) > 1:
        readings = [reading[:1] for reading in readings]
    return Unit(tuple(_powers(parts, names) for names in product(*readings)), bare)


def _parts(words: str) -> list[Part] | None:
    """Names with their exponents: what follows a / , or stands in brackets behind it, is divided by."""
    parts: list[Part] = []
    position, sign, divided, open_bracket, expected = 0, 1, False, False, True
    while position < len(words):
        match = _TOKEN.match(words, position)
        if match is None or len(parts) == _MAX_PARTS:
            return None
        position = match.end()
        token = match["sign"]
        if token == "(":
            if open_bracket or not divided:
                return None
            open_bracket = True
        elif token == ")":
            if not open_bracket or expected:
                return None
            open_bracket, divided = False, False
        elif token:
            if expected and (parts or token == "-"):
                return None
            divided = divided if open_bracket else token == "/"
            sign, expected = (-1 if token == "/" and open_bracket else 1), True
        else:
            power = int(match["exponent"] or match["digit"] or {"square ": 2, "cubic ": 3}.get(match["power"], 1))
            parts.append(Part(match["name"], -power * sign if divided else power))
            divided, sign, expected = divided and open_bracket, 1, False
    return (
        None
        if expected or open_bracket or not all(0 < abs(part.exponent) <= _MAX_EXPONENT for part in parts)
        else parts
    )


def _with_nouns(parts: list[Part], readings: list[tuple[str, ...]]) -> Unit | None:
    """One noun, alone or per something: beats per minute, dollars per ticket."""
    first, *others = parts
    if (
        first.exponent != 1
        or len(others) > 1
        or (others and (others[0].exponent > 0 or others[0].exponent < -1 and not readings[1]))
    ):
        return None
    noun = readings[0][0] if readings[0] else counted(first.name)
    names = [noun] + [readings[1][0] if readings[1] else divides(others[0].name)] if others else [noun]
    return Unit((_powers(parts, names),), counts=True) if all(names) else None


def _powers(parts: list[Part], names: "list[str | None] | tuple[str, ...]") -> Powers:
    powers: dict[str, int] = {}
    for part, name in zip(parts, names, strict=True):
        powers[str(name)] = powers.get(str(name), 0) + part.exponent
    return tuple(sorted((name, exponent) for name, exponent in powers.items() if exponent))
