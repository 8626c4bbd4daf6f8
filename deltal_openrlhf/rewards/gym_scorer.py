"""Scores an answer with the scorer of its reasoning-gym task. What a grading process (grading/worker.py) runs for these labels.

The status is "equal" where the library gives its full mark of 1, and "different" otherwise; an answer that the scorer fails on is
"unparsable". The library's mark follows the status. Less than 1 counts as wrong, because several scorers pay for any text that holds the
answer.
"""

import functools
import json
import math
from typing import Any

from deltal_openrlhf.rewards import gym_library
from deltal_openrlhf.rewards.gym_labels import read_label

FULL = 1.0


def warm_up() -> None:
    """Import the library and use sympy's parser once."""
    gym_library.load()
    import sympy

    sympy.simplify(gym_library.expression(sympy.parse_expr, "x**2/2 + 1"))


def grade(labels: list[str], answer: str) -> str:
    """The status of an answer and the library's mark, "different 0.25". labels: one."""
    try:
        mark = mark_of(labels[0], answer)
    except Exception:  # noqa: BLE001 - the library's scorers raise whatever an answer makes them raise
        return "unparsable 0"
    return f"{'equal' if mark >= FULL else 'different'} {mark!r}"


def mark_of(label: str, answer: str) -> float:
    """The library's mark. White space around the answer does not count. Raises what the scorer raises."""
    found = read_label(label)
    entry = {"question": "", "answer": found.answer, "metadata": found.metadata}
    mark = float(_data_set(found.task, json.dumps(found.config)).score_answer(answer.strip(), entry))
    return mark if math.isfinite(mark) else 0.0


@functools.lru_cache(maxsize=64)
def _data_set(task: str, config: str) -> Any:
    return gym_library.data_set(task, json.loads(config))
