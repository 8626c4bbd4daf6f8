r"""Finds repeated problems, within the train set and between train and an eval set.

Within train, two problems are the same if their labels are equal and their texts match. Letter case, LaTeX layout, sentence punctuation,
and the separation of numbers and words (by spaces or by braces) do not matter.

Between train and eval, labels do not matter, and similar texts count too. Collections copy problems with small edits ("\ge" for "\geq",
"exist" for "exists"). So a train problem is also dropped if its five-word sequences overlap with those of an eval problem by NEAR or more.
The overlap is Dice, 2 |A and B| / (|A| + |B|), without LaTeX commands. At least NEAR_SEQUENCES sequences have to be shared, so that a
common phrase does not remove a short problem.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

NEAR = 0.6
"""Of 1,785 problems of Open-Reasoner-Zero against 1,560 of the five eval sets, all nine pairs above 0.45 are one problem
in two wordings, the lowest with 0.74; the highest of two different problems is 0.43."""
NEAR_SEQUENCES = 10
SEQUENCE = 5

_LAYOUT = re.compile(r"\\(?:(?:left|right|displaystyle|qquad|quad)(?![a-z])|[,;:!() \[\]])|[$~{}]")
_PUNCTUATION = re.compile(r"[.;:?](?=\s|$)")
_SHORT_FRACTION = re.compile(r"\\[dt]?frac\s*(\d)\s*(\d)")
_GAP = re.compile(r"(?<![^\W_]) | (?![^\W_])")  # but the one between two letters or digits: "1 23" is not "12 3"
_COMMAND = re.compile(r"\\[a-z]+")
_WORD = re.compile(r"[^\W\d_]+|\d+")

Sequence = tuple[str, ...]


def normalised(text: str) -> str:
    """The text as the comparison within train sees it. Digits, letters and operators stay, and so does a gap between the first two:
    "2^{3}4" is "2^3 4".
    """
    text = _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", unicodedata.normalize("NFKC", text).casefold())
    text = _LAYOUT.sub(" ", text.replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac"))
    return _GAP.sub("", " ".join(_PUNCTUATION.sub("", text).split()))


def without_repeats(problems: Iterable[tuple[str, str]]) -> list[int]:
    """The positions of the first (text, label) of each kind."""
    first: dict[tuple[str, str], int] = {}
    for position, (text, label) in enumerate(problems):
        first.setdefault((normalised(text), label), position)
    return list(first.values())


def with_different_labels(problems: Iterable[tuple[str, str]]) -> list[int]:
    """The positions of texts that also occur with another label, the first of each text."""
    first: dict[str, tuple[int, str]] = {}
    found: dict[int, None] = {}
    for position, (text, label) in enumerate(problems):
        earlier, its_label = first.setdefault(normalised(text), (position, label))
        if label != its_label:
            found[earlier] = None
    return list(found)


class EvalIndex:
    """Finds problems of eval sets in any text, in time proportional to the text's length."""

    def __init__(self, sets: Mapping[str, Iterable[str]]) -> None:
        self._same: dict[str, set[str]] = defaultdict(set)
        self._holders: dict[Sequence, list[int]] = defaultdict(list)  # sequence -> problems
        self._problems: list[tuple[str, int]] = []  # set's name, number of sequences
        for name, texts in sets.items():
            for text in texts:
                self._same[normalised(text)].add(name)
                sequences = _sequences(text)
                for sequence in sequences:
                    self._holders[sequence].append(len(self._problems))
                self._problems.append((name, len(sequences)))

    def find(self, text: str) -> dict[str, str]:
        """{name of a set: "same" or "near"} for each set that holds this problem."""
        sequences = _sequences(text)
        shared = Counter(problem for sequence in sequences for problem in self._holders.get(sequence, ()))
        found = {}
        for problem, count in shared.items():
            name, size = self._problems[problem]
            if count >= NEAR_SEQUENCES and 2 * count >= NEAR * (len(sequences) + size):
                found[name] = "near"
        return found | dict.fromkeys(self._same.get(normalised(text), ()), "same")


def _sequences(text: str) -> set[Sequence]:
    words = _WORD.findall(_COMMAND.sub(" ", unicodedata.normalize("NFKC", text).casefold()))
    return {tuple(words[i : i + SEQUENCE]) for i in range(len(words) - SEQUENCE + 1)}
