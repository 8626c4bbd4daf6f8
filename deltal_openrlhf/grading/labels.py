r"""The label column of a math problem: one gold answer as it is, or a JSON list of several acceptable ones.

A label that is a whole solution counts by the answer that it marks, as a response does: "... so 3.\n#### 3" is 3.
"""

import json
import math
from collections.abc import Sequence
from decimal import Decimal

from deltal_openrlhf.grading.answers import CANNOT_TELL, same_answer
from deltal_openrlhf.grading.reading.extract import extract_answer
from deltal_openrlhf.grading.reading.normalize import normalize
from deltal_openrlhf.grading.values.equality import same_value

MAX_CHARS = 2000
"""Length above which no answer is graded."""
_MARKERS = ("####", r"\boxed", r"\fbox", "<answer>")
_NO_ANSWERS = frozenset({
    "proof", "see proof", "see solution", "notfound", "not found", "no answer", "n/a", "nan", "null", "error", "todo", "tbd", "?",
})  # fmt: skip
"""What data sets write where a problem has no answer."""
_UNLIKE = ("-7919", r"\text{zebra}")
"""Two answers that no gold answer is equal to both of."""


def golds_of(label: str) -> tuple[str, ...]:
    """The acceptable answers of a label. A list of strings in JSON holds several; any other text is one answer, "[1, 2]" too."""
    if not isinstance(label, str) or not label.strip():
        raise ValueError(f"a math label is an answer's text or a JSON list of such texts, not {label!r}")
    if label.lstrip().startswith('["'):
        try:
            golds = json.loads(label)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"a math label starts like a JSON list but is not one: {label[:80]!r}") from error
        if not (isinstance(golds, list) and golds and all(isinstance(gold, str) and gold.strip() for gold in golds)):
            raise ValueError(f"a math label's list must hold answers as non-empty texts, not {label[:80]!r}")
        return tuple(map(answer_in, golds))
    return (answer_in(label),)


def label_of(golds: Sequence[str]) -> str:
    """The label that golds_of reads back."""
    return golds[0] if len(golds) == 1 else json.dumps(list(golds), ensure_ascii=False)


def answer_in(gold: str) -> str:
    """The answer that a solution marks; any other text as it is."""
    return (any(marker in gold for marker in _MARKERS) and extract_answer(gold)) or gold


def check_golds(golds: Sequence[str]) -> None:
    """Raises ValueError for a gold answer that no answer can meet, or that any can."""
    for gold in golds:
        if len(gold) > MAX_CHARS:
            raise ValueError(
                f"the gold answer has {len(gold):,} characters, allowed are {MAX_CHARS:,}: no longer answer is graded"
            )
        if " ".join(gold.casefold().split()).strip(" .") in _NO_ANSWERS or not normalize(gold):
            raise ValueError(f"the gold answer {gold[:80]!r} can be matched by no response")
        if all(_is_equal(gold, answer) for answer in _UNLIKE):
            raise ValueError(f"the gold answer {gold[:80]!r} is equal to any answer")


def _is_equal(gold: str, answer: str) -> bool:
    try:
        return bool(same_answer(gold, answer, same_value))
    except CANNOT_TELL:
        return False


def number_text(number: float) -> str:
    """A gold answer that stands in a file as a number: 142.0 is "142". Raises ValueError where it is not finite."""
    if not math.isfinite(number):
        raise ValueError(f"the answer must be finite, got {number}")
    return str(int(number)) if number == int(number) else format(Decimal(repr(number)), "f")
