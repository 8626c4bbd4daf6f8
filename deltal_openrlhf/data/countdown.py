"""Countdown problems: generated or loaded, split into train and test, written for OpenRLHF.

    python -m deltal_openrlhf.data.countdown --out data/countdown --template base
    deltal train --data.prompt_dataset data/countdown/train.jsonl --data.input_key input --data.label_key label \\
        --reward.remote_url deltal_openrlhf/rewards/countdown_reward.py ...

A problem is a tuple of numbers and a target: combine every number exactly once with + - * / to reach the target. Whether it
belongs to train or test depends on (sorted numbers, target) alone, through SHA-256: the same in every process, on every machine
and for every seed, so that no test problem is ever trained on, in whatever order its numbers stand.
"""

import argparse
import hashlib
import json
import os
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from deltal_openrlhf.files import write_atomically

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
        key = tuple(sorted(numbers)), target
        if 1 <= target <= max_target and key not in found and split_of(numbers, target) == split:
            found[key] = Problem(numbers, target)
            misses = 0
            continue
        misses += 1
        if misses == _GIVE_UP_AFTER:
            raise ValueError(f"found only {len(found)} different {split} problems in these ranges, not {n}")
    return list(found.values())


def _random_value(values: list[int], rng: random.Random) -> int:
    """Combine two random values by a random operation until one is left."""
    while len(values) > 1:
        a, b = (values.pop(rng.randrange(len(values))) for _ in range(2))
        results = [a + b, a - b, a * b]
        if b != 0 and a % b == 0:
            results.append(a // b)
        values.append(rng.choice(results))
    return values[0]


def load(source: str, split: str) -> list[Problem]:
    """The problems of one split of a data set with columns `nums` (list of int) and `target` (int).

    source: a local parquet file, or a data set on the Hugging Face hub such as HUB_NAME, whose part "train" is read. The split is
    ours (`split_of`), since that data set has none. Raises ValueError, in one line, for whatever is wrong with the source.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    is_file = source.endswith(".parquet") or os.path.exists(source)
    columns = _read_parquet(source) if is_file else _read_hub(source)
    for name in ("nums", "target"):
        if name not in columns:
            raise ValueError(f"{source}: no column {name!r}; it has {', '.join(columns) or 'none'}")
    if not columns["target"]:
        raise ValueError(f"{source}: holds no rows")
    problems = []
    for row, (numbers, target) in enumerate(zip(columns["nums"], columns["target"], strict=True)):
        if not (isinstance(numbers, list) and numbers and all(type(n) is int for n in [*numbers, target])):
            raise ValueError(
                f"{source}: row {row}: nums must be a list of int and target an int, got {numbers!r}, {target!r}"
            )
        if split_of(numbers, target) == split:
            problems.append(Problem(tuple(numbers), target))
    return problems


def _read_parquet(path: str) -> dict[str, list]:
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(path).to_pydict()
    except (OSError, ValueError) as error:  # pyarrow's own errors are subclasses of these two
        raise ValueError(f"{path}: not a readable parquet file: {_first_line(error)}") from error


def _read_hub(name: str) -> dict[str, list]:
    import datasets

    try:
        return datasets.load_dataset(name, split="train").to_dict()
    # The client raises its own, httpx's and the system's errors; to the user all of them mean the same.
    except Exception as error:
        raise ValueError(f"{name}: no local file, and not readable from the hub: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _task(numbers: Sequence[int], target: int) -> str:
    return (
        f"Using the numbers {', '.join(map(str, numbers))}, write an equation that equals {target}. You may use the operations "
        "+, -, *, / and parentheses, and you must use each number exactly once. Show your work in <think> </think> tags and "
        "give the final equation in <answer> </answer> tags, for example <answer> (1 + 2) / 3 </answer>."
    )


def base_prompt(numbers: Sequence[int], target: int) -> str:
    """For a base model: a conversation in plain text that opens the assistant's turn with <think>."""
    return (
        "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The Assistant first "
        "thinks about the reasoning process and then gives the user the answer.\n"
        f"User: {_task(numbers, target)}\nAssistant: Let me solve this step by step.\n<think>"
    )


def chat_messages(numbers: Sequence[int], target: int) -> list[dict[str, str]]:
    """For a chat model, with the host's --data.apply_chat_template."""
    system = (
        "You are a helpful assistant. You first think about the reasoning process and then give the user the answer."
    )
    return [{"role": "system", "content": system}, {"role": "user", "content": _task(numbers, target)}]


Template = Callable[[Sequence[int], int], str | list[dict[str, str]]]
TEMPLATES: dict[str, Template] = {"base": base_prompt, "chat": chat_messages}


def label(numbers: Sequence[int], target: int) -> str:
    """What rewards/countdown_reward.py takes as the label."""
    return json.dumps({"numbers": list(numbers), "target": target})


def write_jsonl(
    problems: Iterable[Problem], path: str | os.PathLike, template: Template, datasource: str = "countdown"
) -> None:
    """One row {"input", "label", "datasource"} a problem: --data.input_key input --data.label_key label. Whole or not at all."""
    rows = ({"input": template(*p), "label": label(*p), "datasource": datasource} for p in problems)
    write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def main(argv: list[str] | None = None) -> None:
    """Write train.jsonl and test.jsonl. Bad input: one line and exit code 2."""
    parser = _Parser(
        prog="python -m deltal_openrlhf.data.countdown", description="Write countdown problems for OpenRLHF."
    )
    parser.add_argument("--out", required=True, help="folder for train.jsonl and test.jsonl")
    parser.add_argument(
        "--template", choices=TEMPLATES, default="base", help="prompt for base models, or messages for chat models"
    )
    parser.add_argument("--train", type=int, default=20_000, help="number of train problems (default 20000)")
    parser.add_argument("--test", type=int, default=512, help="number of test problems (default 512)")
    parser.add_argument(
        "--seed", type=int, default=0, help="another seed draws other problems; the split stays the same"
    )
    parser.add_argument(
        "--source", help=f"parquet file or hub data set, such as {HUB_NAME}, instead of generated problems"
    )
    parser.add_argument(
        "--num_numbers",
        type=int,
        nargs=2,
        default=(3, 6),
        metavar=("LEAST", "MOST"),
        help="numbers per problem (default 3 6)",
    )
    parser.add_argument("--low", type=int, default=1, help="least number")
    parser.add_argument("--high", type=int, default=99, help="largest number")
    parser.add_argument("--max_target", type=int, default=100, help="largest target")
    args = parser.parse_args(argv)
    for flag in SPLITS:
        if getattr(args, flag) < 0:
            parser.error(f"--{flag} is {getattr(args, flag)}, allowed is 0 or more")
    try:
        for split in SPLITS:
            problems = _problems(args, split, getattr(args, split))
            path = Path(args.out) / f"{split}.jsonl"
            write_jsonl(problems, path, TEMPLATES[args.template])
            print(f"{path}: {len(problems)} problems")
    except (ValueError, OSError) as error:
        parser.error(str(error))


def _problems(args: argparse.Namespace, split: str, n: int) -> list[Problem]:
    if args.source is None:
        ranges = {
            "num_numbers": tuple(args.num_numbers),
            "low": args.low,
            "high": args.high,
            "max_target": args.max_target,
        }
        return generate(n, **ranges, seed=args.seed, split=split)
    problems = load(args.source, split)
    if not 0 <= n <= len(problems):
        raise ValueError(f"{args.source}: {n} {split} problems wanted, there are {len(problems)}")
    return random.Random(args.seed).sample(problems, n)


if __name__ == "__main__":
    main()
