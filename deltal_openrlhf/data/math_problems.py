r"""Math problems with their gold answers, read from the shapes in which the known sets are published.

| set | problem | answer |
|---|---|---|
| Open-Reasoner-Zero, train | pair of messages, `value` of the first | `ground_truth.value` of the second |
| Open-Reasoner-Zero, eval files | `prompt`: list of one message, its `value` | `final_answer` |
| MATH500, AIME 2024, AMC, Minerva | `problem` or `question` | `answer`: text, number ("142.0" is 142) or list |
| OlympiadBench | `question`, after `context` where there is one | `final_answer`: list |
| GSM8K | `question` | `answer`: a solution that ends in "#### N" |

A list holds several acceptable answers, not the parts of one: Minerva's lists give one value in several forms ("-\frac{1}{3}" and
"-1/3"), and OlympiadBench writes several solutions into one text ("$(3,2),(-3,2)$").
"""

import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from deltal_openrlhf.data.sources import read_rows
from deltal_openrlhf.grading.labels import golds_of, label_of
from deltal_openrlhf.rewards.scoring import check_label

TRAIN = "Open-Reasoner-Zero/orz_math_57k_collection"
EVAL = {
    "math500": "HuggingFaceH4/MATH-500@test",
    "aime2024": "HuggingFaceH4/aime_2024@train",
    "amc": "AI-MO/aimo-validation-amc@train",
    "minerva": "math-ai/minervamath@test",
    "olympiad": "Hothan/OlympiadBench:OE_TO_maths_en_COMP@train",
}
GSM8K_TRAIN = "openai/gsm8k:main@train"
GSM8K_TEST = "openai/gsm8k:main@test"

PROBLEM_COLUMNS = ("problem", "question", "prompt")
ANSWER_COLUMNS = ("final_answer", "answer")

_SOLUTION = re.compile(r"\n#### \S+\s*\Z")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


class Problem(NamedTuple):
    """text: the problem as the model sees it. label: its gold answers, as grading/labels.py reads them."""

    text: str
    label: str


def read_math(source: str) -> list[Problem]:
    """Every problem of a source (data/sources.py). Raises ValueError with the number of the first bad row, counted from 1."""
    return _read(source, _golds)


def read_gsm8k(source: str) -> list[Problem]:
    """As read_math; the answer is the number after "####", without thousands separators."""
    return _read(source, lambda answer: [_final_number(answer)])


def _read(source: str, golds: Callable[[Any], list[str]]) -> list[Problem]:
    problems = []
    for number, row in enumerate(read_rows(source), start=1):
        try:
            text, answer = _problem_and_answer(row)
            problems.append(Problem(text, _label(golds(answer))))
        except ValueError as error:
            raise ValueError(f"{source}: row {number}: {error}") from error
    return problems


def _problem_and_answer(row: Any) -> tuple[str, Any]:
    pair = _message_pair(row)
    if pair:
        return _text(pair[0].get("value"), "the problem"), pair[1]["ground_truth"]["value"]
    if not isinstance(row, dict):
        raise ValueError(f"a {type(row).__name__}, wanted are columns or a pair of messages")
    problem = row[_column(row, PROBLEM_COLUMNS)]
    if isinstance(problem, list):
        problem = _only_message(problem)
    text = _text(problem, "the problem")
    if row.get("context") is not None:
        text = f"{_text(row['context'], 'the context')}\n{text}"
    return text, row[_column(row, ANSWER_COLUMNS)]


def _message_pair(row: Any) -> tuple[dict, dict] | None:
    """[{"value": problem}, {"ground_truth": {"value": answer}}]; the hub's reader makes columns "0" and "1" of it."""
    if isinstance(row, dict) and row.keys() >= {"0", "1"}:
        row = [row["0"], row["1"]]
    if not (isinstance(row, list) and len(row) == 2 and all(isinstance(message, dict) for message in row)):
        return None
    truth = row[1].get("ground_truth")
    if not (isinstance(truth, dict) and "value" in truth):
        raise ValueError("the second message has no ground_truth with a value")
    return row[0], row[1]


def _only_message(messages: list) -> Any:
    if len(messages) != 1 or not isinstance(messages[0], dict):
        raise ValueError(f"the prompt must be a text or a list of one message, got {_short(messages)}")
    message = messages[0]
    return message.get("value", message.get("content"))


def _column(row: dict, names: tuple[str, ...]) -> str:
    for name in names:
        if name in row:
            return name
    raise ValueError(f"no column {' or '.join(names)}; it has {', '.join(map(str, row)) or 'none'}")


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{what} must be a non-empty text, got {_short(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} holds half a surrogate pair, which no UTF-8 file can") from error
    return value.strip()


def _golds(answer: Any) -> list[str]:
    """Distinct acceptable answers: Minerva has "2" and "2\\n"."""
    answers = answer if isinstance(answer, list) else [answer]
    if any(isinstance(text, str) and _SOLUTION.search(text) for text in answers):
        raise ValueError("the answer is a solution that ends in '#### N': such files are for deltal data gsm8k")
    if not answers:
        raise ValueError("the list of answers is empty")
    return list(dict.fromkeys(map(_gold, answers)))


def _gold(answer: Any) -> str:
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        return _text(answer, "the answer")
    if not math.isfinite(answer):
        raise ValueError(f"the answer must be finite, got {answer}")
    if answer == int(answer):
        return str(int(answer))
    return format(Decimal(repr(answer)), "f")


def _final_number(answer: Any) -> str:
    _, marker, number = _text(answer, "the answer").rpartition("####")
    number = number.strip().replace(",", "")
    if not marker or not _NUMBER.fullmatch(number):
        raise ValueError(f"the answer must end in '#### N', got {_short(answer[-60:])}")
    return number


def _label(golds: list[str]) -> str:
    label = label_of(golds)
    try:
        check_label(label)
    except ValueError as error:
        raise ValueError(f"the answer {_short(label)} cannot be graded: {error}") from error
    if golds_of(label) != tuple(golds):
        raise ValueError(f"the answer {_short(label)} would be read as a list of answers")
    return label


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
