"""The letters of an answer, and giving one another name."""

import re
from collections.abc import Mapping

from deltal_openrlhf.grading.function_names import ELEMENTARY, OF_SEVERAL

_WORD = re.compile(r"\\[a-zA-Z]+|[a-zA-Z]+")
_NO_LETTERS = ELEMENTARY | OF_SEVERAL | {"and", "or", "for", "is"}
_LONGEST_PRODUCT = 3


def letters_of(text: str) -> set[str]:
    """The letters that stand for something: not those of commands, functions and words."""
    return {letter for word in _WORD.findall(text) if _is_product(word) for letter in word}


def renamed(text: str, names: Mapping[str, str]) -> str | None:
    """text with other letters; None where a new one is in it already."""
    if (letters_of(text) - names.keys()) & set(names.values()):
        return None
    return _WORD.sub(
        lambda word: "".join(names.get(letter, letter) for letter in word[0]) if _is_product(word[0]) else word[0], text
    )


def _is_product(word: str) -> bool:
    return word[0] != "\\" and len(word) <= _LONGEST_PRODUCT and word not in _NO_LETTERS
