r"""Quantities in several units: 2 hours 15 minutes, 30^\circ 15', 5 feet 3 inches, 3 dollars and 25 cents."""

import re
from fractions import Fraction
from functools import lru_cache

from deltal_openrlhf.grading.quantities.conversion import Powers, size
from deltal_openrlhf.grading.quantities.halves import with_halves
from deltal_openrlhf.grading.quantities.unit_names import names_of
from deltal_openrlhf.grading.quantities.unit_text import plain_text

_MAX_CHARS = 120
_TERM = re.compile(r" ?(\d{1,12}(?:\.\d{1,12})?) ?-?([A-Za-z]+|°|''|')(?: ?, ?(?:and )?| and | ?& ?)?")
_MAY_BE_COMPOUND = re.compile(r"-?\d[\d.]* ?(?:\\text|\^|[A-Za-z'\"-])[^+*/=()\[\]_<>|]*\d[^+*/=()\[\]_<>|]*")
# What a unit says behind another one.
_AFTER = {
    ("degree", "'"): "arcminute", ("degree", "minute"): "arcminute", ("arcminute", "second"): "arcsecond",
    ("arcminute", "''"): "arcsecond", ("degree", "''"): "arcsecond", ("foot", "''"): "inch", ("hour", "meter"): "minute",
}  # fmt: skip


@lru_cache(maxsize=2048)
def in_one_unit(text: str) -> str:
    r"""The quantity in its first unit: \frac{9}{4}\text{hour} for 2 hours 15 minutes. Any other text as it is, also "2 hours, 3 hours"."""
    if len(text) > _MAX_CHARS:
        return text
    text = with_halves(text)
    if not _MAY_BE_COMPOUND.fullmatch(text):
        return text
    terms = _terms(plain_text(text.removeprefix("-")))
    if len(terms) < 2:
        return text
    sizes = [size(powers) for _, powers in terms]
    first = sizes[0]
    total = Fraction(0)
    for i, ((number, _), one) in enumerate(zip(terms, sizes, strict=True)):
        if one.roots != first.roots or one.pi != first.pi or (i and not one.factor < sizes[i - 1].factor):
            return text
        if i < len(terms) - 1 and "." in number:
            return text
        total += Fraction(number) * one.factor / first.factor
    total = -total if text.startswith("-") else total
    value = str(total.numerator) if total.denominator == 1 else rf"\frac{{{total.numerator}}}{{{total.denominator}}}"
    unit = terms[0][1][0][0]
    return rf"{value}^\circ" if unit == "degree" else rf"{value}\text{{ {unit}}}"


def _terms(words: str) -> list[tuple[str, Powers]]:
    """[(number, unit), ...]; [] where anything else stands there."""
    terms: list[tuple[str, Powers]] = []
    position, before = 0, ""
    while position < len(words):
        match = _TERM.match(words, position)
        if match is None or len(terms) == 4:
            return []
        names = names_of(match[2])
        name = names[0] if names else None
        name = _AFTER.get((before, match[2])) or _AFTER.get((before, name or "")) or name
        if name is None:
            return []
        terms.append((match[1], ((name, 1),)))
        position, before = match.end(), name
    return terms
