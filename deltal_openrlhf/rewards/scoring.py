"""Scores one response against the label of its problem. The reward files and the reward service share this.

The label decides the task: a JSON object that names a task is a problem of reasoning-gym, another JSON object a countdown problem, anything
else the gold answer of a math problem. Imports no torch.
"""

import atexit
import json
import re
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from deltal_openrlhf.grading.grader import STATUSES, Grade, Grader
from deltal_openrlhf.grading.labels import check_golds, golds_of
from deltal_openrlhf.grading.reading.extract import extract_answer
from deltal_openrlhf.rewards.countdown import last_answer, score
from deltal_openrlhf.rewards.gym_labels import SCORER, check_gym_label, is_gym

# No answer to a math problem starts like this, a set such as {1, 2} included.
_JSON_OBJECT = re.compile(r'\s*\{\s*"')

_shared: Grader | None = None
_shared_lock = threading.Lock()


def response_of(query: str, prompt: str) -> str:
    """The text after the prompt, since a prompt may hold a valid example answer. Raises ValueError if the query does not start with the
    prompt.
    """
    if not query.startswith(prompt):
        raise ValueError(
            "the query does not start with its prompt, so the response cannot be separated. Either the tokenizer does not give the prompt "
            "back (decode(encode(prompt)) != prompt), or the prompt was cut to --data.max_len minus --rollout.max_new_tokens. "
            f"prompt: {prompt[:80]!r}, query: {query[:80]!r}"
        )
    return query[len(prompt) :]


def countdown_problem(label: str) -> tuple[list[int], int]:
    """The (numbers, target) of a countdown label. Raises ValueError for a broken one."""
    try:
        problem = json.loads(label)
        numbers, target = problem["numbers"], problem["target"]
    except (TypeError, KeyError, ValueError, RecursionError) as error:
        raise ValueError(
            f"a countdown label is {{'numbers': [...], 'target': n}} as JSON text, not {str(label)[:80]!r}"
        ) from error
    if not (isinstance(numbers, list) and all(type(n) is int for n in [*numbers, target])):
        raise ValueError(f"a countdown label holds a list of integers and an integer, not {label[:80]!r}")
    return numbers, target


def answer_of(response: str, label: str, fallback: str = "none") -> str | None:
    """The answer that is graded. None if the response gives none. fallback: that of extract_answer, for math."""
    in_tags = is_gym(label) or _is_countdown(label)
    return last_answer(response) if in_tags else extract_answer(response, fallback)


def check_label(label: str) -> None:
    """Raise ValueError for a label that cannot be graded, that no answer can match, or that every answer matches."""
    if is_gym(label):
        check_gym_label(label)
    elif _is_countdown(label):
        countdown_problem(label)
    else:
        check_golds(golds_of(label))


def golds_in(label: str) -> int:
    """The number of answers with which a response is compared. Raises ValueError for a label that cannot be graded."""
    return 1 if _is_countdown(label) else len(accepted(label))


def accepted(label: str) -> tuple[str, ...]:
    """What submit_answer compares an answer with. Raises ValueError for a label that cannot be graded."""
    return (label,) if is_gym(label) else golds_of(label)


def _is_countdown(label: str) -> bool:
    return isinstance(label, str) and _JSON_OBJECT.match(label) is not None and not is_gym(label)


def submit(grader: Grader, response: str, label: str, fallback: str = "none") -> Future[Grade]:
    """The grade of a response, given without its prompt. The reward is 1 if it is equal, else 0. Raises ValueError for a broken label.

    Countdown has the statuses equal and different, and unparsable for a response without <answer>.
    """
    if is_gym(label):
        return submit_answer(grader, (label,), last_answer(response))
    if _is_countdown(label):
        numbers, target = countdown_problem(label)
        equal = score(response, numbers, target) == 1.0
        status = "equal" if equal else "unparsable" if last_answer(response) is None else "different"
        graded: Future[Grade] = Future()
        graded.set_result(Grade(equal, status))
        return graded
    return grader.submit(golds_of(label), extract_answer(response, fallback))


def submit_answer(grader: Grader, golds: Sequence[str], answer: str | None) -> Future[Grade]:
    """The grade of an answer without its response. golds: as `accepted` gives them. Raises ValueError for a broken label, and for a
    reasoning-gym label among other golds.
    """
    if any(map(is_gym, golds)):
        if len(golds) > 1:
            raise ValueError("gold is a list that holds a reasoning-gym label; it has to stand alone")
        check_gym_label(golds[0])
        return grader.of(SCORER).submit(golds, answer)
    return grader.submit(golds, answer)


def logs_of(grades: list[Grade]) -> dict[str, list[float]]:
    """The host's extra_logs: for each status 1 if a response has it, else 0. Their means are the shares in its metrics.

    The names are the same whatever the labels are: the host asks for one response at a time, and joins those of a batch by name.
    """
    return {f"grade/{status}": [float(grade.status == status) for grade in grades] for status in STATUSES}


def shared_grader() -> Grader:
    """This process's grader, made at the first call. A reward file may be loaded more than once, and many threads call it."""
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = Grader()
            atexit.register(_shared.close)
        return _shared
