r"""Arbitrary constants of the solutions of differential equations: y = C_1e^x + C_2e^{2x} is y = Be^{2x} + Ae^x."""

import re
from itertools import permutations

from deltal_openrlhf.grading.parts.letters import letters_of

_SOLUTION = re.compile(r"(?P<name>[yuxzwf])\s?(?:\(\s?(?P<of>[xts])\s?\))?\s?=\s?(?P<side>[^=]+)")
_INDEXED = re.compile(r"(?<![a-zA-Z\\])(?P<letter>[CcKk])\s?_\s?(?:\{\s?(?P<index>\d)\s?\}|(?P<digit>\d))")
_SINGLE = re.compile(
    r"(?<![a-zA-Z\\_])(?<!_\{)([A-DKck])(?![_'(])|(?<=[\d})])([A-DKck])(?![a-zA-Z_'(])|(?<=[+\-(= ])([A-DKck])(?=[ext])"
)
_ARBITRARY = re.compile(r"[CK]|[CcKk]_\d")
"""What nobody calls a number that is given."""
_VARIABLE = set("xts")
_MOST = 3


def with_constants_of(gold: str, pred: str) -> list[tuple[str, str]]:
    """Both answers with the same names for their constants, in each way that the constants may stand for each other; the answers as they
    are where they are no general solutions, or hold the same names."""
    solutions = _SOLUTION.fullmatch(gold), _SOLUTION.fullmatch(pred)
    if not (solutions[0] and solutions[1]):
        return [(gold, pred)]
    texts = [_spelled(found["side"]) for found in solutions if found]
    names = [_constants(text) for text in texts]
    if len(names[0]) != len(names[1]) or not 0 < len(names[0]) <= _MOST:
        return [(gold, pred)]
    if not any(all(map(_ARBITRARY.fullmatch, one)) for one in names):
        return [(gold, pred)]
    if set(names[0]) == set(names[1]) and not all("_" in name for name in names[0]):
        return [(gold, pred)]  # A and B may be given
    heads = [found[0][: found.start("side")] for found in solutions if found]
    one = _renamed(texts[0], dict(zip(names[0], range(len(names[0])), strict=True)))
    return [
        (heads[0] + one, heads[1] + _renamed(texts[1], dict(zip(names[1], order, strict=True))))
        for order in permutations(range(len(names[0])))
    ]


def _spelled(text: str) -> str:
    return _INDEXED.sub(lambda match: f" {match['letter']}_{match['index'] or match['digit']} ", text)


def _constants(text: str) -> list[str]:
    """Those with an index, or else the single letters; none where both occur or where no variable does."""
    letters = letters_of(text)
    if not (letters & _VARIABLE):
        return []
    indexed = sorted(set(re.findall(r"[CcKk]_\d", text)))
    single = sorted({letter for match in _SINGLE.finditer(text) for letter in match.groups() if letter})
    if indexed:
        return [] if single else indexed
    return single


def _renamed(text: str, numbers: dict[str, int]) -> str:
    for name, number in numbers.items():
        if "_" in name:
            text = text.replace(f" {name} ", f" Q_{{{number}}} ")
    plain = {name: number for name, number in numbers.items() if "_" not in name}
    if not plain:
        return text
    return _SINGLE.sub(lambda match: f" Q_{{{plain[match[0]]}}} ", text)
