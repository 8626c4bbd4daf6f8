r"""Countdown problems: generated or loaded, split into train and test, and the prompts that ask for them.

    deltal data countdown --out data/countdown --template base
    deltal train --data.prompt_dataset data/countdown/train.jsonl --data.input_key input --data.label_key label \
        --reward.remote_url deltal:countdown ...

A problem is a tuple of numbers and a target: combine every number exactly once with + - * / to reach the target. Whether it belongs to
train or test depends only on (sorted numbers, target), through SHA-256. So the split is the same in every process, on every machine and for
every seed. No test problem is ever trained on, whatever the order of its numbers.
"""

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from deltal_openrlhf.data.solvable import MOST_NUMBERS, is_solvable
from deltal_openrlhf.data.sources import Skipped, read_rows, skip
from deltal_openrlhf.data.templates import Demo, Messages, base_conversation, chat

HUB_NAME = "Jiayi-Pan/Countdown-Tasks-3to4"
SPLITS = ("train", "test")
TEST_ONE_IN = 5
"""One problem in five is a test problem."""

_GIVE_UP_AFTER = 100_000
"""Draws in a row without a new problem after which the ranges are taken to hold no more."""


class Problem(NamedTuple):
    numbers: tuple[int, ...]
    target: int


def split_of(numbers: Sequence[int], target: int) -> str:
    """'test' for one in TEST_ONE_IN of all (sorted numbers, target), else 'train'."""
    key = f"{','.join(map(str, sorted(numbers)))}={target}"
    digest = hashlib.sha256(key.encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") % TEST_ONE_IN == 0 else "train"


def generate(
    n: int,
    *,
    num_numbers: tuple[int, int] = (3, 6),
    low: int = 1,
    high: int = 99,
    max_target: int = 100,
    seed: int = 0,
    split: str = "train",
) -> list[Problem]:
    """n different problems of one split, each solvable: the target is the value of a random expression over the numbers.

    num_numbers: least and most numbers in a problem. low, high: range of a number. Targets are 1 to max_target; divisions inside
    the expression that made a target are exact. Raises ValueError for empty ranges and when there are no n such problems.
    """
    least, most = num_numbers
    if n < 0:
        raise ValueError(f"the number of problems is {n}, allowed is 0 or more")
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, allowed are {', '.join(SPLITS)}")
    if not (1 <= least <= most and 1 <= low <= high and max_target >= 1):
        raise ValueError(
            "the ranges must be 1 <= least <= most numbers, 1 <= low <= high, 1 <= max_target, got "
            f"{least} to {most}, {low} to {high}, {max_target}"
        )
    rng = random.Random(seed)
    found: dict[tuple[tuple[int, ...], int], Problem] = {}
    misses = 0
    while len(found) < n:
        numbers = tuple(rng.randint(low, high) for _ in range(rng.randint(least, most)))
        target = _random_value(list(numbers), rng)
        key = same_problem(Problem(numbers, target))
        if 1 <= target <= max_target and key not in found and split_of(numbers, target) == split:
            found[key] = Problem(numbers, target)
            misses = 0
            continue
        misses += 1
        if misses == _GIVE_UP_AFTER:
            raise ValueError(f"found only {len(found)} different {split} problems in these ranges, not {n}")
    return list(found.values())


def without_repeats(problems: Sequence[Problem]) -> list[Problem]:
    """Keep the first of each (sorted numbers, target)."""
    first: dict[tuple[tuple[int, ...], int], Problem] = {}
    for problem in problems:
        first.setdefault(same_problem(problem), problem)
    return list(first.values())


def same_problem(problem: Problem) -> tuple[tuple[int, ...], int]:
    """A key that is equal for problems that differ only in the order of their numbers."""
    return tuple(sorted(problem.numbers)), problem.target


def _random_value(values: list[int], rng: random.Random) -> int:
    """Combine two random values by a random operation until one is left."""
    while len(values) > 1:
        a, b = (values.pop(rng.randrange(len(values))) for _ in range(2))
        results = [a + b, a - b, a * b]
        if b != 0 and a % b == 0:
            results.append(a // b)
        values.append(rng.choice(results))
    return values[0]


def load(source: str, skipped: list[Skipped] | None = None) -> dict[str, list[Problem]]:
    """Load the problems of a source (data/sources.py) with columns `nums` (list of int) and `target` (int), by split.

    This package makes the split (`split_of`), because HUB_NAME has none. Bad rows go to `skipped`; without it, the first is a ValueError.
    Any other fault of the source is a ValueError too, in one line. Rows are counted from 1.
    """
    problems: dict[str, list[Problem]] = {split: [] for split in SPLITS}
    for number, row in enumerate(read_rows(source), start=1):
        if why := _row_problem(row):
            skip(Skipped(source, number, why, row), skipped)
        else:
            problems[split_of(row["nums"], row["target"])].append(Problem(tuple(row["nums"]), row["target"]))
    return problems


def _row_problem(row: Any) -> str | None:
    missing = [name for name in ("nums", "target") if not (isinstance(row, dict) and name in row)]
    if missing:
        has = ", ".join(map(str, row)) if isinstance(row, dict) else f"no columns but a {type(row).__name__}"
        return f"no column {missing[0]!r}; it has {has}"
    numbers, target = row["nums"], row["target"]
    if not (isinstance(numbers, list) and numbers and all(type(n) is int for n in [*numbers, target])):
        return f"nums must be a list of int and target an int, got {numbers!r}, {target!r}"
    return None


def choose(
    problems: Sequence[Problem], n: int, rng: random.Random, skipped: list[Problem] | None = None
) -> list[Problem]:
    """Choose n of the problems that have a solution.

    Problems without one go to `skipped`, and others take their places. Without `skipped` the first is a ValueError. Problems of more than
    solvable.MOST_NUMBERS numbers are not checked.
    """
    chosen = rng.sample(range(len(problems)), n)
    left = iter(sorted(set(range(len(problems))) - set(chosen)))
    kept: list[Problem] = []
    while chosen:
        problem = problems[chosen.pop(0)]
        if len(problem.numbers) > MOST_NUMBERS or is_solvable(*problem):
            kept.append(problem)
            continue
        if skipped is None:
            raise ValueError(
                f"{problem.target} cannot be made of {', '.join(map(str, problem.numbers))}; --skip_bad leaves such rows out"
            )
        skipped.append(problem)
        chosen += [position] if (position := next(left, None)) is not None else []
    if len(kept) < n:
        raise ValueError(f"{n} problems wanted, {len(kept)} have a solution")
    return kept


def task(numbers: Sequence[int], target: int) -> str:
    """What the user asks."""
    return (
        f"Using the numbers {', '.join(map(str, numbers))}, write an equation that equals {target}. You may use the operations "
        "+, -, *, / and parentheses, and you must use each number exactly once. Show your work in <think> </think> tags and "
        "give the final equation in <answer> </answer> tags, for example <answer> (1 + 2) / 3 </answer>."
    )


def base_prompt(numbers: Sequence[int], target: int, demos: Sequence[Demo] = ()) -> str:
    """The prompt for a base model: a conversation in plain text that opens the assistant's turn with <think>."""
    return base_conversation(task(numbers, target), demos)


def chat_messages(numbers: Sequence[int], target: int, demos: Sequence[Demo] = ()) -> Messages:
    """The messages for a chat model, with the host's --data.apply_chat_template."""
    system = (
        "You are a helpful assistant. You first think about the reasoning process and then give the user the answer."
    )
    return chat(task(numbers, target), [(demo.question, demo.thought()) for demo in demos], system)


TEMPLATES: dict[str, Callable[..., str | Messages]] = {"base": base_prompt, "chat": chat_messages}


def label(numbers: Sequence[int], target: int) -> str:
    """The label, as rewards/countdown_reward.py takes it."""
    return json.dumps({"numbers": list(numbers), "target": target})
