"""Worked examples of math and countdown problems, for prompts."""

import re
from collections.abc import Sequence

from deltal_openrlhf.data import countdown
from deltal_openrlhf.data.countdown_steps import steps
from deltal_openrlhf.data.math_problems import Problem
from deltal_openrlhf.data.solvable import MOST_NUMBERS
from deltal_openrlhf.data.templates import Demo, ends_in
from deltal_openrlhf.grading.labels import golds_of

_CALCULATOR = re.compile(r"<<[^<>]*>>")
_FINAL = re.compile(r"\s*^####.*\Z", re.MULTILINE | re.DOTALL)


def math_demo(problem: Problem) -> Demo:
    r"""The problem with its own solution, without GSM8K's <<calculations>> and its last line, and with the answer in \boxed{}."""
    assert problem.solution is not None
    work = _FINAL.sub("", _CALCULATOR.sub("", problem.solution)).strip()
    answer = rf"\boxed{{{golds_of(problem.label)[0]}}}"
    return Demo(problem.text, work, answer if ends_in(work, answer) else f"The final answer is {answer}.")


def countdown_demos(problems: Sequence[countdown.Problem]) -> list[Demo]:
    """The problems worked out, one operation a line. Raises ValueError for one that is too long or has no solution."""
    demos = []
    for problem in problems:
        if len(problem.numbers) > MOST_NUMBERS:
            raise ValueError(
                f"--demos: a train problem has {len(problem.numbers)} numbers, up to {MOST_NUMBERS} are worked out"
            )
        lines, expression = steps(*problem)
        demos.append(Demo(countdown.task(*problem), "\n".join(lines), f"<answer> {expression} </answer>"))
    return demos
