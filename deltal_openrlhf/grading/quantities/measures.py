r"""Numbers with a unit, a base or a percent sign, compared.

A unit, a base or a percent sign that one side leaves out does not matter; two units are compared by what they measure.
"""

import re

from deltal_openrlhf.grading.leaves import Same
from deltal_openrlhf.grading.quantities.bases import same_in_base
from deltal_openrlhf.grading.quantities.conversion import convert
from deltal_openrlhf.grading.quantities.quantity import Certainty, Quantity, is_numeric, is_of_angle, read
from deltal_openrlhf.grading.quantities.scales import abbreviated
from deltal_openrlhf.grading.quantities.spoken import same_spoken
from deltal_openrlhf.grading.reading.normalize import unwrap_command
from deltal_openrlhf.grading.reading.words import is_phrase

_BARE_NUMBERS = re.compile(r"[\d\s.+*/()-]+")
_PERCENT = ("%", "percent", "per cent")
_OPEN_TEXT = re.compile(r"\\text\s*\{$")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*\^\\circ")


def same_quantities(gold: str, pred: str, leaf: Same) -> bool | None:
    """Words, or a number or expression, perhaps with a unit or a percent sign."""
    if _BARE_NUMBERS.fullmatch(gold) and _BARE_NUMBERS.fullmatch(pred):
        return leaf(gold, pred)

    def said(gold: str, pred: str) -> bool | None:
        return same_spoken(gold, pred, leaf)

    if all(text.startswith(r"\text{") and not re.search(r"[\d=+*/^-]", text) for text in (gold, pred)):
        return False  # not the same text
    if (r"\ldots" in gold) != (r"\ldots" in pred):
        return False
    gold, pred = unwrap_command(gold, r"\text"), unwrap_command(pred, r"\text")
    if is_phrase(gold) or is_phrase(pred):
        return False  # not the same words, or words and an expression
    based = same_in_base(gold, pred)
    if based is not None:
        return based
    gold, gold_percent = without_percent(_in_radians(gold))
    pred, pred_percent = without_percent(_in_radians(pred))
    a, b = read(gold), read(pred)
    if (gold_percent and b.unit) or (pred_percent and a.unit):
        return False  # 5 % and 5 cm
    verdict = _same_measures(gold, pred, a, b, said)
    if not verdict and gold_percent != pred_percent:
        return said(gold, f"({pred})/100") if pred_percent else said(f"({gold})/100", pred)
    return verdict


def without_percent(text: str) -> tuple[str, bool]:
    r"""(value, whether a percent sign was taken off): 5 %, 5 percent, 5\text{ percent}."""
    in_text = text.endswith("}") and r"\text" in text
    before = text[:-1].rstrip() if in_text else text
    for sign in _PERCENT:
        if before.endswith(sign):
            value = before.removesuffix(sign).rstrip()
            value = _OPEN_TEXT.sub("", value).rstrip() if in_text else value
            return (value, True) if value and value.count("{") == value.count("}") else (text, False)
    return text, False


def _same_measures(gold: str, pred: str, a: Quantity, b: Quantity, leaf: Same) -> bool | None:
    if a.unit and b.unit:
        if not max(a.certainty, b.certainty) and (verdict := leaf(gold, pred)) is not False:
            return verdict  # 5m and m*5
        return _same_converted(a, b, leaf)
    if a.unit is None and b.unit is None:
        return _same_numbers(a.value, b.value, leaf)
    other, measured = (a, b) if b.unit else (b, a)
    if measured.certainty < (Certainty.BESIDE_NUMBERS if is_numeric(other.value) else Certainty.CERTAIN):
        return _same_numbers(gold, pred, leaf)
    return leaf(a.value, b.value)


def _same_numbers(gold: str, pred: str, leaf: Same) -> bool | None:
    scaled = abbreviated(gold), abbreviated(pred)
    if (scaled[0] and is_numeric(pred)) or (scaled[1] and is_numeric(gold)):
        return leaf(scaled[0] or gold, scaled[1] or pred)
    return leaf(gold, pred)


def _same_converted(a: Quantity, b: Quantity, leaf: Same) -> bool | None:
    assert a.unit and b.unit
    if set(a.unit.meanings) & set(b.unit.meanings):
        return leaf(a.value, b.value)
    for unit in a.unit.meanings:
        for into in b.unit.meanings:
            converted = convert(a.value, unit, into)
            if converted is not None:
                return leaf(converted, b.value)
    return False


def _in_radians(text: str) -> str:
    r"""\tan 15^\circ as \tan (15*\pi/180)."""
    return _DEGREES.sub(r"(\1*\\pi/180)", text) if r"\circ" in text and is_of_angle(text) else text
