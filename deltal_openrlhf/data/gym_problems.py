"""Makes the problems of reasoning-gym tasks in a process of its own: `python -m deltal_openrlhf.data.gym_problems`.

In: one JSON object, {"requests": [[task, config, {split: number}], ...], "seed": 0}. Out: a JSON line for each problem,
{"task", "split", "question", "label"}, and for each task a line with what was left out. A line {"error": ...} ends it.

A process of its own, because the problems of some tasks depend on the order of Python's sets: PYTHONHASHSEED=0 fixes it. Some tasks print.

Every problem is tried as a run will use it: its answer, in a response and with its label read back from the file's text, has to get the
full mark. Two answers that cannot both be right must not both get it. The answers of a few other problems, where they differ, must not all
get it. Problems that fail are left out. A task whose first problems all fail is refused.
"""

import datetime
import functools
import hashlib
import itertools
import json
import os
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from deltal_openrlhf.rewards import gym_library
from deltal_openrlhf.rewards.countdown import last_answer
from deltal_openrlhf.rewards.gym_labels import check_gym_label, label_of
from deltal_openrlhf.rewards.gym_scorer import FULL, marker

SPLITS = ("test", "train")
"""Test comes first: its problems are left out of train."""
CHUNK = 500
"""Problems of one seed."""
FAILURES = 8
"""Problems in a row, the first of a task, that make it refused."""
WRONG = ("zebra", "-7919")
"""Answers of which no problem has both."""
OTHERS = 4
"""Problems at the start of a chunk with whose answers the others are tried."""


def seed_of(seed: int, task: str, split: str, chunk: int) -> int:
    """Seeds of different splits and chunks have nothing in common: the library's problem i is that of seed + i."""
    digest = hashlib.sha256(f"{seed} {task} {split} {chunk}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def problems(task: str, config: Mapping[str, Any], wanted: Mapping[str, int], seed: int) -> Iterator[dict[str, Any]]:
    """The problems of a task, no question twice, and at last {"task", "repeats", "in_test", "unfit", "why"}: how many were left out because
    they repeat an earlier one of their split, or one of test, or fail the trial, and why the first of these does.

    Raises ValueError for a task that is refused, and where the task has no more problems.
    """
    seen: dict[str, str] = {}
    left_out: dict[str, Any] = {"task": task, "repeats": 0, "in_test": 0, "unfit": 0, "why": ""}
    for split in (split for split in SPLITS if wanted.get(split)):
        made, chunk = 0, 0
        while made < wanted[split]:
            before = made
            entries = _entries(task, config, seed_of(seed, task, split, chunk))
            first = list(itertools.islice(entries, OTHERS))
            others = [entry["answer"] for entry in first if isinstance(entry.get("answer"), str)]
            for entry in itertools.chain(first, entries):
                question = " ".join(entry["question"].split())
                if question in seen:
                    left_out["repeats" if seen[question] == split else "in_test"] += 1
                    continue
                seen[question] = split
                label, why = tried(task, config, entry, others)
                if why:
                    left_out.update(unfit=left_out["unfit"] + 1, why=left_out["why"] or why)
                    if left_out["unfit"] == FAILURES == len(seen):
                        raise ValueError(f"{task} cannot be used: {why}")
                    continue
                made += 1
                yield {"task": task, "split": split, "question": entry["question"], "label": label}
                if made == wanted[split]:
                    break
            chunk += 1
            if made == before:
                raise ValueError(f"{task}: found only {made:,} different {split} problems, not {wanted[split]:,}")
    yield left_out


def _entries(task: str, config: Mapping[str, Any], seed: int) -> Iterator[dict[str, Any]]:
    made = gym_library.data_set(task, config, size=CHUNK, seed=seed)
    for index in range(CHUNK):
        gym_library.seed_everything(seed + index)
        try:
            entry = made[index]
        except Exception as error:  # noqa: BLE001 - whatever a generator raises where it finds no problem
            entry = {"question": f"{seed} {index}", "error": " ".join(str(error).split()) or type(error).__name__}
        yield entry


def tried(
    task: str, config: Mapping[str, Any], entry: Mapping[str, Any], others: Iterable[str] = ()
) -> tuple[str, str]:
    """(label, "") of a problem, or ("", why it cannot be used). others: answers of problems of this task, perhaps this one's too."""
    if "error" in entry:
        return "", f"the library makes no problem: {entry['error']}"
    if not isinstance(entry["answer"], str):
        return "", "the library gives no answer of its own, with which its scorer could be tried"
    try:
        label = label_of(task, config, entry["answer"], entry["metadata"])
        check_gym_label(label)
        mark_of = marker(label)
        mark = mark_of(last_answer(f"<answer>{entry['answer']}</answer>") or "")
    except Exception as error:  # noqa: BLE001 - whatever a scorer raises, and metadata without a form in JSON
        return "", " ".join(str(error).split()) or type(error).__name__
    if mark < FULL:
        return "", f"its scorer gives the right answer {mark:g} once the problem has been in a file"
    if all(_full(mark_of, wrong) for wrong in WRONG):
        return "", "its scorer gives any text the full mark"
    unlike = {other.strip() for other in others} - {entry["answer"].strip()}
    if unlike and all(_full(mark_of, other) for other in sorted(unlike)):
        return "", "its scorer gives the answers of other problems the full mark"
    return label, ""


def _full(mark_of: Callable[[str], float], answer: str) -> bool:
    try:
        return mark_of(answer) >= FULL
    except Exception:  # noqa: BLE001 - as gym_scorer.grade
        return False


def main() -> None:
    request = json.load(sys.stdin)
    gym_library.load()
    import dateutil.parser  # the library's

    # It completes a time of day with the day of its making, which would stand in the labels. No scorer reads times with it.
    parse = functools.partial(dateutil.parser.parse, default=datetime.datetime(2000, 1, 1))
    vars(sys.modules["reasoning_gym.arithmetic.time_intervals"])["parser"] = types.SimpleNamespace(parse=parse)
    lines = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the library prints is no problem
    try:
        for task, config, wanted in request["requests"]:
            for line in problems(task, config, wanted, request["seed"]):
                print(json.dumps(line), file=lines)
    except ValueError as error:
        print(json.dumps({"error": str(error)}), file=lines)
    lines.close()


if __name__ == "__main__":
    main()
