"""Scores an answer with the scorer of its reasoning-gym task. What a grading process (grading/worker.py) runs for these labels.

The status is "equal" where the library gives its full mark of 1, and "different" otherwise; an answer that the scorer fails on is
"unparsable". The library's mark follows the status. Less than 1 counts as wrong, because several scorers pay for any text that holds the
answer. A label that cannot be scored says nothing of an answer, so it raises here: the process that asks has checked it.
"""

import functools
import json
import math
from collections.abc import Callable
from typing import Any

from deltal_openrlhf.rewards import gym_expressions, gym_library
from deltal_openrlhf.rewards.gym_labels import read_label

FULL = 1.0


def warm_up() -> None:
    """Import the library and use sympy's parser once."""
    gym_library.load()
    import sympy

    sympy.simplify(gym_expressions.expression("x**2/2 + 1"))


def grade(labels: list[str], answer: str) -> str:
    """The status of an answer and the library's mark, "different 0.25". labels: one. Raises ValueError if it is broken, and MemoryError."""
    mark_of = marker(labels[0])
    try:
        mark = mark_of(answer)
    except MemoryError:  # nothing can be trusted in this process after it
        raise
    except Exception:  # noqa: BLE001 - the library's scorers raise whatever an answer makes them raise
        return "unparsable 0"
    return f"{'equal' if mark >= FULL else 'different'} {mark!r}"


def marker(label: str) -> Callable[[str], float]:
    """Gives the library's mark of an answer, and raises what the scorer raises. White space around the answer does not count.

    Raises ValueError for a label that cannot be scored.
    """
    found = read_label(label)
    made = _data_set(found.task, json.dumps(found.config))
    entry = {"question": "", "answer": found.answer, "metadata": found.metadata}

    def mark_of(answer: str) -> float:
        mark = float(made.score_answer(answer.strip(), entry))
        return mark if math.isfinite(mark) else 0.0

    return mark_of


@functools.lru_cache(maxsize=64)
def _data_set(task: str, config: str) -> Any:
    return gym_library.data_set(task, json.loads(config))
