r"""Permutations in cycle notation: (1\ 3\ 2) is (3 2 1), and (1 2)(3 4) is (3 4)(1 2). Numbers side by side in brackets are no product."""

import re

_CYCLE = re.compile(r"\(\s*([\d\s,]+?)\s*\)")
_CYCLES = re.compile(r"(?:\(\s*\d[\d\s,]*\)\s*(?:\*|\\circ(?![a-z]))?\s*)+")
_LETTERS = re.compile(r"(?:\(\s*[a-z](?:\s+[a-z])+\s*\)\s*)+")
"""(a b c), which is a product only beside another kind of expression."""
_SPACED = re.compile(r"\d\s+\d")
_NOTE = re.compile(r"\s*\(?(?:as a|in|is a|a)?\s*(?:(?:disjoint|single|3-)?\s*cycles?)(?:\s(?:notation|form))?\)?$")

Permutation = dict[int, int]
"""Where each number goes that does not stay."""


def same_permutation(gold: str, pred: str) -> bool | None:
    """Whether two permutations are the same; None where neither answer is one. (12)(34) is one beside (1 2)(3 4)."""
    if "(" not in gold + pred or "=" in gold + pred:
        return None
    gold, pred = _without_note(gold), _without_note(pred)
    if _LETTERS.fullmatch(gold) and _LETTERS.fullmatch(pred):
        numbers = {letter: f" {ord(letter)} " for letter in set(filter(str.isalpha, gold + pred))}
        gold, pred = ("".join(numbers.get(character, character) for character in text) for text in (gold, pred))
    if not (_is_spaced(gold) or _is_spaced(pred)):
        return None
    permutations = _permutation(gold), _permutation(pred)
    return permutations[0] is not None and permutations[0] == permutations[1]


def _without_note(text: str) -> str:
    if "cycle" not in text:
        return text
    flat = re.sub(r"\\text\s?\{([^{}]*)\}", r" \1", text).strip()
    return _NOTE.sub("", flat).strip()


def _is_spaced(text: str) -> bool:
    """Whether it is cycles of which one has spaces between its numbers, and no commas."""
    return "(" in text and bool(_SPACED.search(text)) and "," not in text and bool(_CYCLES.fullmatch(text))


def _permutation(text: str) -> Permutation | None:
    """None for anything else, and for cycles that share a number: in which order they act is convention."""
    if not _CYCLES.fullmatch(text) or text.rstrip().endswith(("*", "circ")):
        return None
    moved: Permutation = {}
    spaced = _is_spaced(text)
    for inside in _CYCLE.findall(text):
        numbers = _numbers(inside, spaced or text.count("(") > 1)
        if numbers is None or len(set(numbers)) < len(numbers) or moved.keys() & set(numbers):
            return None
        moved.update(zip(numbers, numbers[1:] + numbers[:1], strict=True))
    return {number: image for number, image in moved.items() if number != image}


def _numbers(inside: str, may_have_commas: bool) -> list[int] | None:
    """Of 1 3 2 and 1,3,2; of 132, where no number has two digits, its digits."""
    if "," in inside and not may_have_commas:
        return None  # (1, 2), a point
    parts = re.split(r"[\s,]+", inside.strip(" ,"))
    if len(parts) == 1 and len(parts[0]) > 1:
        return list(map(int, parts[0]))
    return list(map(int, parts)) if all(len(part) < 5 for part in parts) else None
