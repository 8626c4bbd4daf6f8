r"""Math problems with their gold answers, read from the layouts in which they are published (data/layouts.py).

A list holds several acceptable answers, not the parts of one. Minerva's lists give one value in several forms ("-\frac{1}{3}" and "-1/3").
OlympiadBench writes several solutions into one text ("$(3,2),(-3,2)$").
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from deltal_openrlhf.data.layouts import problem_and_answer, short, solution_of, text_of
from deltal_openrlhf.data.sources import Skipped, read_rows, skip
from deltal_openrlhf.grading.labels import answer_in, golds_of, label_of, number_text
from deltal_openrlhf.grading.reading.extract import extract_answer
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

_SOLUTION = re.compile(r"\n#### \S+\s*\Z")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


@dataclass(frozen=True)
class Problem:
    """text: the problem as the model sees it. label: its gold answers, as grading/labels.py reads them. solution: worked, as it is
    published; None where there is none, or where it ends in another answer.
    """

    text: str
    label: str
    solution: str | None = field(default=None, compare=False)


def read_math(source: str, skipped: list[Skipped] | None = None) -> list[Problem]:
    """Read every problem of a source (data/sources.py).

    Bad rows go to `skipped`. Without it, the first of them is a ValueError with its number, counted from 1.
    """
    return _read(source, _golds, skipped)


def read_gsm8k(source: str, skipped: list[Skipped] | None = None) -> list[Problem]:
    """Do the same as read_math. The answer is the number after "####", without thousands separators."""
    return _read(source, lambda answer: [_final_number(answer)], skipped)


def _read(source: str, golds: Callable[[Any], list[str]], skipped: list[Skipped] | None) -> list[Problem]:
    problems = []
    for number, row in enumerate(read_rows(source), start=1):
        try:
            text, answer = problem_and_answer(row)
            accepted = golds(answer)
            problems.append(Problem(text, _label(accepted), _solution(row, accepted)))
        except ValueError as error:
            skip(Skipped(source, number, str(error), row), skipped)
    return problems


def _solution(row: Any, golds: list[str]) -> str | None:
    solution = solution_of(row)
    if solution is None:
        return None
    marked = extract_answer(solution)
    return solution if marked is None or marked.replace(",", "") in {gold.replace(",", "") for gold in golds} else None


def _golds(answer: Any) -> list[str]:
    r"""The distinct acceptable answers. (Minerva has "2" and "2\n".)"""
    answers = answer if isinstance(answer, list) else [answer]
    if any(isinstance(text, str) and _SOLUTION.search(text) for text in answers):
        raise ValueError("the answer is a solution that ends in '#### N': such files are for deltal data gsm8k")
    if not answers:
        raise ValueError("the list of answers is empty")
    return list(dict.fromkeys(map(_gold, answers)))


def _gold(answer: Any) -> str:
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        return answer_in(text_of(answer, "the answer"))
    return number_text(answer)


def _final_number(answer: Any) -> str:
    _, marker, number = text_of(answer, "the answer").rpartition("####")
    number = number.strip().replace(",", "")
    if not marker or not _NUMBER.fullmatch(number):
        raise ValueError(f"the answer must end in '#### N', got {short(answer[-60:])}")
    return number


def _label(golds: list[str]) -> str:
    label = label_of(golds)
    try:
        check_label(label)
    except ValueError as error:
        raise ValueError(f"the answer {short(label)} cannot be graded: {error}") from error
    if golds_of(label) != tuple(golds):
        raise ValueError(f"the answer {short(label)} would be read as a list of answers")
    return label
