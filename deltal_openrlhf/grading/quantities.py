"""Numbers with a unit, a base or a percent sign."""

import re

from deltal_openrlhf.grading.leaves import Same
from deltal_openrlhf.grading.normalize import unwrap_command
from deltal_openrlhf.grading.words import is_phrase

_UNIT = re.compile(
    r"(?P<value>.*?[\d)}\]i])(?P<unit>(?:\s*(?:/\s*)?\\text\{[^{}]*\}(?:\^\{?-?\d\}?)?)+|\s*\^\\circ(?:\s*[CF])?"
    r"|\s+[A-Za-z][A-Za-z./ -]*(?:\^\{?\d\}?)?"
    r"|\s*(?:cm|mm|km|kg|mg|ml|hours?|minutes?|seconds?|days?|meters?|feet|miles?|degrees?|dollars?|cents?|units?|inches)"
    r"(?:\^\{?\d\}?)?)"
)
# Words that make another number or another answer of the one before them.
_NO_UNIT = re.compile(
    r"(?i)\d|\b(?:(?:thousand|hundred|million|billion|trillion|dozen|score)s?|half|halves|(?:third|quarter|fourth|fifth|sixth|seventh|eighth|"
    r"ninth|tenth|hundredth|thousandth|[a-z]*teenth|[a-z]*tieth)s?|lakhs?|crores?|and|or|to|if|when|for|mod|modulo|pi|sqrt|sin|cos|tan|log|"
    r"ln|plus|minus|times|over|divided|multiplied|by|less|more|than|squared|cubed|point|not|is|are|was|but|except|factorial|choose|"
    r"something|zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|alpha|beta|gamma|delta|theta|lambda|sigma|omega|"
    r"phi|x|y|z|n|k)\b"
)
_UNIT_LETTERS = "msghlNJWVKCFL"
_UNIT_NAMES = {
    "centimeter": "cm", "centimetre": "cm", "millimeter": "mm", "kilometer": "km", "kilometre": "km", "meter": "m", "metre": "m",
    "inch": "in", "inche": "in", "feet": "ft", "foot": "ft", "yard": "yd", "mile": "mi", "gram": "g", "kilogram": "kg", "second": "s",
    "sec": "s", "minute": "min", "hour": "h", "hr": "h", "degree": "deg", "liter": "l", "litre": "l", "dollar": "usd", "pound": "lb",
}  # fmt: skip
_PERCENT = re.compile(r"(.*\S)\s*(?:%|\\text\{\s*(?:%|percent)\s*\}|percent)", re.DOTALL)
_BASE = re.compile(r"([\dA-F]+)_\{?(\d+)\}?")
_LONG_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{4,}")
_MATH_WORDS = {"sqrt", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan", "infty", "frac"}


def is_numeric(value: str) -> bool:
    """Digits, and no letter but those of commands: what a unit may follow."""
    return bool(re.search(r"\d", value)) and not re.search(
        r"[a-zA-Z]", re.sub(r"\\(?:frac|sqrt|pi|pm)(?![a-z])", "", value)
    )


def without_percent(text: str) -> tuple[str, bool]:
    """(value, whether a percent sign was taken off)."""
    match = _PERCENT.fullmatch(text)
    return (match[1], True) if match else (text, False)


def without_unit(text: str) -> tuple[str, str]:
    """(value, unit): the unit in one spelling, "" where there is none."""
    base = _BASE.fullmatch(text)
    if base:
        return base[1], f"base {base[2]}"
    match = _UNIT.fullmatch(text)
    if match is None or not is_numeric(match["value"]):
        return text, ""
    spelled = re.sub(r"\^\{?-?\d\}?", "", match["unit"])
    if _NO_UNIT.search(spelled) or len(re.findall(r"[A-Za-z]+", spelled.replace(r"\text", " "))) > 4:
        return text, ""
    letter = re.fullmatch(r"\s+([a-zA-Z])(\^\{?\d\}?)?", match["unit"])
    if letter and letter[1] not in _UNIT_LETTERS:
        return text, ""
    unit = match["unit"].replace(r"\text", " ").replace(r"^\circ", "degree")
    power = re.search(r"\^\{?(-?\d)\}?$", unit)
    words = [word.rstrip("s") or word for word in re.findall(r"[a-z]+", unit.lower())]
    words = [_UNIT_NAMES.get(word, word) for word in words]
    if words and words[0] in ("square", "sq", "cubic", "cu"):
        return match["value"].strip(), f"{' '.join(words[1:])}^{'2' if words[0].startswith('s') else '3'}"
    return match["value"].strip(), " ".join(words) + (f"^{power[1]}" if power else "")


def same_quantities(gold: str, pred: str, leaf: Same) -> bool | None:
    """Words, or a number or expression, perhaps with a unit or a percent sign."""
    if all(text.startswith(r"\text{") and not re.search(r"[\d=+*/^-]", text) for text in (gold, pred)):
        return False  # not the same text
    if (r"\ldots" in gold) != (r"\ldots" in pred):
        return False
    gold, pred = unwrap_command(gold, r"\text"), unwrap_command(pred, r"\text")
    if is_phrase(gold) or is_phrase(pred):
        return False  # not the same words, or words and an expression
    gold, gold_percent = without_percent(gold)
    pred, pred_percent = without_percent(pred)
    gold, gold_unit = without_unit(gold)
    pred, pred_unit = without_unit(pred)
    if gold_unit and pred_unit and gold_unit != pred_unit:
        return False
    if any(word not in gold and word not in _MATH_WORDS for word in _LONG_WORD.findall(pred)):
        return False  # 10+John's age
    verdict = leaf(gold, pred)
    if not verdict and gold_percent != pred_percent:
        return leaf(gold, f"({pred})/100") if pred_percent else leaf(f"({gold})/100", pred)
    return verdict
