r"""Sets of real numbers, however they are written: intervals and unions, inequalities, x \ne 2, \mathbb{R} \setminus \{2\}.

Every form is read as disjoint intervals in ascending order. An end that is no number makes a text no such set.
"""

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple, NoReturn

from deltal_openrlhf.grading.leaves import Same, all_of
from deltal_openrlhf.grading.parts.absolute import absolute_intervals
from deltal_openrlhf.grading.parts.names import is_name
from deltal_openrlhf.grading.parts.relations import MIRRORED, Relation, interval, relation
from deltal_openrlhf.grading.parts.structure import AND, OR, both_signs, braced_set, elements, group, split, split_at
from deltal_openrlhf.grading.values.number import number

REALS = r"\mathbb{R}"
_MARKS = re.compile(r"\\(?:mathbb|cup|cap|setminus|backslash|smallsetminus|le|ge|ne)(?![a-zA-Z])|[<>]")
_WITHOUT = re.compile(r"\\(?:setminus|backslash|smallsetminus)(?![a-zA-Z])|(?<=\})\s*-\s*(?=\\\{)")
_MEMBER = re.compile(r"([a-zA-Z](?:_\w)?)\s*\\in(?![a-z])\s*(.+)", re.DOTALL)
_EITHER = re.compile(OR)
_BOTH = re.compile(rf"{AND}|,")
_POSITIVE = re.compile(r"\\mathbb\{R\}[_^]\{?\s?(?:\+|>\s?0)\s?\}?")
_UNEQUAL = re.compile(r"\\ne(?![a-zA-Z])")
_MOST_PIECES = 50
_LARGEST = 1e300
"""Of ends: larger ones are no floats."""
_MOST_MEMBERS = 200
_LEAST = {"Z": None, "Z+": 1, "Z0": 0, "N": 1}
"""Domain of whole numbers -> its least one."""


class End(NamedTuple):
    """Where a piece ends. included: whether the piece holds its end."""

    value: Fraction | float
    text: str
    included: bool


class Piece(NamedTuple):
    low: End
    high: End


class RealSet(NamedTuple):
    """variable: the name that was given to the members, or "". pieces: disjoint, ascending, none touching another."""

    variable: str
    pieces: tuple[Piece, ...]


class _NoSet(Exception):
    """The text is no set of real numbers whose ends are numbers."""


_LOWEST, _HIGHEST = End(-math.inf, r"-\infty", False), End(math.inf, r"\infty", False)
ALL = Piece(_LOWEST, _HIGHEST)


def is_set(text: str) -> bool:
    """Whether the text says by a sign of its own that it is a set: (1, 2) alone may be a point."""
    return bool(_MARKS.search(text))


def real_set(text: str) -> RealSet | None:
    try:
        return _read(text)
    except _NoSet:
        return None


def same_sets(gold: RealSet, pred: RealSet, same: Same) -> bool | None:
    if gold.variable and pred.variable and gold.variable != pred.variable:
        return False
    if len(gold.pieces) != len(pred.pieces):
        return False
    ends = [(a, b) for pieces in zip(gold.pieces, pred.pieces, strict=True) for a, b in zip(*pieces, strict=True)]
    if any(a.included != b.included for a, b in ends):
        return False
    return all_of(same(a.text, b.text) for a, b in ends)


def whole_members(text: str, letter: str, domain: str) -> list[str] | None:
    r"""The whole numbers in a bounded interval: of -1 < x < 4 with x in Z, 0 to 3. Where it depends on whether N holds 0, None."""
    found = real_set(text) if domain in _LEAST and is_set(text) else None
    if found is None or len(found.pieces) != 1 or found.variable not in ("", letter):
        return None
    low, high = found.pieces[0]
    least = _LEAST[domain]
    if high.value == math.inf or (low.value == -math.inf and least is None):
        return None
    start = math.floor(low.value) + 1 if low.value > -math.inf else -math.inf
    if low.included and low.value == start - 1:
        start -= 1
    if domain == "N" and start <= 0 <= high.value:
        return None
    start = int(max(start, -math.inf if least is None else least))
    end = math.floor(high.value)
    if end == high.value and not high.included:
        end -= 1
    return [str(member) for member in range(start, end + 1)] if end - start < _MOST_MEMBERS else None


def _read(text: str) -> RealSet:
    text = text.strip(" ,;")
    alternatives = split_at(text, _EITHER)[0]
    if len(alternatives) > 1:
        return _union([_read(part) for part in alternatives])
    conditions, separators = split_at(text, _BOTH)
    if len(conditions) > 1:
        return _all_of(conditions, not {",", ";"} >= set(separators))
    member = _MEMBER.fullmatch(text)
    if member:
        return RealSet(member[1], _read(member[2]).pieces)
    parts = split(text, r"\cup")
    if len(parts) > 1:
        return _union([RealSet("", _points(part)) if braced_set(part) else _read(part) for part in parts])
    parts = split(text, r"\cap")
    if len(parts) > 1:
        pieces = _read(parts[0]).pieces
        for part in parts[1:]:
            pieces = _intersection(pieces, _read(part).pieces)
        return RealSet("", pieces)
    parts = split_at(text, _WITHOUT)[0]
    if len(parts) > 1:
        pieces = _read(parts[0]).pieces
        for part in parts[1:]:
            removed = _points(part) if braced_set(part) else _read(part).pieces
            pieces = _intersection(pieces, _complement(removed))
        return RealSet("", pieces)
    if text == REALS:
        return RealSet("", (ALL,))
    if text == r"\emptyset":
        return RealSet("", ())
    if _POSITIVE.fullmatch(text):
        return RealSet("", (Piece(End(Fraction(0), "0", False), _HIGHEST),))
    sides = split_at(text, _UNEQUAL)[0]
    if len(sides) == 2:
        name, value = sides if is_name(sides[0]) else sides[::-1]
        return RealSet(name, _complement(_points(rf"\{{{value}\}}"))) if is_name(name) else _fail()
    brackets = group(text)
    if brackets:
        return RealSet("", _merged([_piece(brackets.kind, *brackets.parts)]) if len(brackets.parts) == 2 else _fail())
    found = relation(text)
    return _of_relation(found) if found else _fail()


def _all_of(conditions: Sequence[str], says_and: bool) -> RealSet:
    """x > 2, x \\ne 3 and x \\ne \\pm 5, 4: what meets all. x < 1, x > 3, which nothing meets, is meant as x < 1 or x > 3, unless it says
    "and"; so are intervals and values: (0, 1) and (2, 3)."""
    sets: list[RealSet] = []
    excluded = False
    for condition in conditions:
        if excluded and not is_set(condition):  # x \ne 5, -5
            sets.append(RealSet(sets[-1].variable, _complement(_points(rf"\{{{condition}\}}"))))
            continue
        excluded = r"\ne" in condition
        sets.append(_read(condition))
    variable = _variable(sets)
    pieces = sets[0].pieces
    for one in sets[1:]:
        pieces = _intersection(pieces, one.pieces)
    impossible = says_and and all(
        one.variable and one.pieces[0].low.value < one.pieces[-1].high.value for one in sets if one.pieces
    )
    return RealSet(variable, pieces) if pieces or impossible else _union(sets)


def _of_relation(found: Relation) -> RealSet:
    sides, signs = found
    if signs == ["="] and is_name(sides[0]):
        return RealSet(sides[0], _points(rf"\{{{sides[1]}\}}"))
    named = interval(found)
    if named is None:
        return _of_absolute(found)
    return RealSet(named[0], (_piece(named[1].kind, *named[1].parts),))


def _of_absolute(found: Relation) -> RealSet:
    """|x - 1| < 3, and 0 < |x - 1| < 3 from both of its signs."""
    pieces: tuple[Piece, ...] = (ALL,)
    variable = ""
    for left, sign, right in zip(found.sides, found.signs, found.sides[1:], strict=False):
        if "|" in right:
            left, sign, right = right, MIRRORED[sign], left
        if "|" in right or not (read := absolute_intervals(left, sign, right)):
            raise _NoSet
        variable = read[0]
        pieces = _intersection(pieces, _merged([_piece(*brackets_and_ends) for brackets_and_ends in read[1]]))
    return RealSet(variable, pieces)


def _union(sets: Sequence[RealSet]) -> RealSet:
    return RealSet(_variable(sets), _merged([piece for one in sets for piece in one.pieces]))


def _variable(sets: Sequence[RealSet]) -> str:
    names = {one.variable for one in sets} - {""}
    if len(names) > 1:
        raise _NoSet
    return names.pop() if names else ""


def _points(text: str) -> tuple[Piece, ...]:
    inner = braced_set(text)
    values = elements(text) or [inner or ""]
    ends = [_end(sign, True) for value in values for sign in both_signs(value)]
    return _merged([Piece(end, end) for end in ends])


def _piece(kind: str, low: str, high: str) -> Piece:
    piece = Piece(_end(low, kind[0] == "["), _end(high, kind[1] == "]"))
    if not _before(piece.low, piece.high) and not (piece.low.value == piece.high.value and kind == "[]"):
        raise _NoSet
    return piece


def _end(text: str, included: bool) -> End:
    text = text.strip()
    if text in (r"\infty", r"+\infty", r"-\infty"):
        end = _LOWEST if text[0] == "-" else _HIGHEST
        return end if not included else _fail()
    value = number(text)
    if value is None or not -_LARGEST < value < _LARGEST:
        raise _NoSet
    return End(value, text, included)


def _before(a: End, b: End) -> bool:
    """Whether a's value is the smaller one. Raises where rounding hides which it is."""
    if a.text != b.text and not (isinstance(a.value, Fraction) and isinstance(b.value, Fraction)):
        if math.isclose(a.value, b.value, rel_tol=1e-9, abs_tol=1e-12):
            raise _NoSet
    return a.value < b.value


def _merged(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    if len(pieces) > _MOST_PIECES:
        raise _NoSet
    merged: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: (piece.low.value, not piece.low.included)):
        last = merged[-1] if merged else None
        if (
            last is None
            or _before(last.high, piece.low)
            or not (_before(piece.low, last.high) or last.high.included or piece.low.included)
        ):
            merged.append(piece)
        elif _before(last.high, piece.high) or (last.high.value == piece.high.value and piece.high.included):
            merged[-1] = Piece(last.low, piece.high)
    return tuple(merged)


def _complement(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    left: list[Piece] = []
    low = _LOWEST
    for piece in pieces:
        if piece.low.value > -math.inf:
            left.append(Piece(low, piece.low._replace(included=not piece.low.included)))
        low = piece.high._replace(included=not piece.high.included)
    if low.value < math.inf:
        left.append(Piece(low, _HIGHEST))
    return tuple(left)


def _intersection(one: Sequence[Piece], other: Sequence[Piece]) -> tuple[Piece, ...]:
    """By De Morgan: what is in neither complement."""
    return _complement(_merged([*_complement(one), *_complement(other)]))


def _fail() -> NoReturn:
    raise _NoSet
