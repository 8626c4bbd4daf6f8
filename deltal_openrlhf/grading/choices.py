"""Multiple choice: a letter, with or without the text of that choice."""

import re

from deltal_openrlhf.grading.leaves import Same
from deltal_openrlhf.grading.normalize import unwrap_command

_CHOICE = re.compile(r"\(([A-J])\)\s*(.*)|([A-H])", re.DOTALL)
_CHOSEN = re.compile(r"\(?([A-Za-z])\)?[.:]?|\(([A-Za-z])\)(.*)|([A-Za-z])[).:]\s(.*)", re.DOTALL)
_TEXT_LETTER = re.compile(r"^\\text\{\s*\(?([A-Ja-j])\)?\s*\}")
_OPTION = re.compile(r"^(?:option|choice|answer)\s*:?\s*", re.IGNORECASE)
_ANOTHER = re.compile(r"^(?:,|and\b|or\b|/)|\([A-Ja-j]\)|^[A-J](?:[.:),\s]|$)")


def choice(gold: str) -> tuple[str, str | None] | None:
    """(letter, text of the choice) where the gold answer is one; None for any other answer."""
    match = _CHOICE.fullmatch(_TEXT_LETTER.sub(r"(\1)", unwrap_command(gold, r"\text")))
    return (match[1] or match[3], match[2]) if match and not _ANOTHER.search(match[2] or "") else None


def same_choice(letter: str, text: str | None, pred: str, same: Same) -> bool | None:
    """The gold answer is a letter, with or without the text of that choice; so may the other one be: "B", "(b)", "B.", "(B) 7"."""
    pred = _TEXT_LETTER.sub(r"(\1)", _OPTION.sub("", unwrap_command(pred, r"\text")))
    chosen = _CHOSEN.fullmatch(pred)
    if chosen is None:
        return same(text, pred) if text else False
    if (chosen[1] or chosen[2] or chosen[4]).upper() != letter:
        return False
    said = (chosen[3] or chosen[5] or "").strip()
    if _ANOTHER.search(said):
        return False
    return same(text, said) if text and said else True
