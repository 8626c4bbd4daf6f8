"""Labels of reasoning-gym problems: JSON text with the task, its configuration, the answer and the metadata that the scorer reads.

{"task": "chain_sum", "config": {"max_terms": 3}, "answer": "44", "metadata": {...}}
"""

import functools
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from deltal_openrlhf.grading.labels import MAX_CHARS
from deltal_openrlhf.grading.process import Scorer
from deltal_openrlhf.rewards import gym_library

SCORER = Scorer("deltal_openrlhf.rewards.gym_scorer", gym_library.NEEDS)
FORM = "{'task': ..., 'config': {...}, 'answer': ..., 'metadata': {...}} as JSON text"

_START = re.compile(r'\s*\{\s*"')


class GymLabel(NamedTuple):
    """config: what differs from the task's defaults, in JSON's types. metadata: the library's."""

    task: str
    config: dict[str, Any]
    answer: str
    metadata: dict[str, Any]


def is_gym(label: Any) -> bool:
    """Whether a label is of this kind: a JSON object that names a task."""
    return isinstance(label, str) and '"task"' in label and _START.match(label) is not None and _names_task(label)


@functools.lru_cache(maxsize=256)  # each of a problem's responses asks, and more than once
def _names_task(label: str) -> bool:
    try:
        return "task" in json.loads(label)
    except (ValueError, RecursionError):
        return True  # and a broken one


def label_of(task: str, config: Mapping[str, Any], answer: str, metadata: Mapping[str, Any]) -> str:
    """The label. Raises TypeError or ValueError for metadata that JSON does not hold."""
    return json.dumps(GymLabel(task, dict(config), answer, dict(metadata))._asdict(), allow_nan=False)


def read_label(label: str) -> GymLabel:
    """Read a label. Raises ValueError for a broken one."""
    try:
        read = json.loads(label)
        found = GymLabel(*(read[name] for name in GymLabel._fields))
    except (TypeError, KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"a reasoning-gym label is {FORM}, not {str(label)[:80]!r}") from error
    types = (str, dict, str, dict)
    for name, value, wanted in zip(GymLabel._fields, found, types, strict=True):
        if not isinstance(value, wanted):
            raise ValueError(f"a reasoning-gym label is {FORM}: {name} is {str(value)[:80]!r}")
    return found


@functools.lru_cache(maxsize=256)
def check_gym_label(label: str) -> None:
    """Raise ValueError for a label that cannot be scored or that no answer can match. Needs the library."""
    found = read_label(label)
    if not found.answer.strip():
        raise ValueError("the answer of a reasoning-gym label is empty, which no response can match")
    if len(found.answer) > MAX_CHARS:
        raise ValueError(
            f"the answer of a reasoning-gym label has {len(found.answer):,} characters, allowed are {MAX_CHARS:,}: no longer one is scored"
        )
    _check_configuration(found.task, json.dumps(found.config))


@functools.lru_cache(maxsize=64)
def _check_configuration(task: str, config: str) -> None:
    gym_library.data_set(task, json.loads(config))
