"""The files of reasoning-gym tasks: which tasks, in which configuration, how many problems of each.

deltal data reasoning-gym --task chain_sum gcd --config chain_sum.max_terms=3 --out data/sums
deltal train --data.prompt_dataset data/sums/train.jsonl --reward.remote_url deltal:reasoning-gym ...
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from deltal_openrlhf.data.output import Row
from deltal_openrlhf.data.prepare import Files, Options, measured
from deltal_openrlhf.data.templates import TAGGED, Demo
from deltal_openrlhf.rewards import gym_library
from deltal_openrlhf.rewards.gym_labels import read_label
from deltal_openrlhf.runs.command import nearest
from deltal_openrlhf.runs.progress import Progress

_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])


def tasks_of(words: Sequence[str]) -> list[str]:
    """The tasks of words like "A" and "A,B". Raises ValueError for none, for an unknown one, and for one that is named twice."""
    tasks = " ".join(words).replace(",", " ").split()
    if not tasks:
        raise ValueError("--task names no task")
    for task in tasks:
        try:
            gym_library.check_task(task)
        except ValueError as error:
            raise ValueError(f"--task {' '.join(words)}: {error}") from error
        if tasks.count(task) > 1:
            raise ValueError(f"--task {' '.join(words)}: {task} is named twice")
    return tasks


def configs_of(tasks: Sequence[str], words: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The configuration of each task, by NAME=VALUE for every task with that field, and TASK.NAME=VALUE for one.

    Raises ValueError, in one line, for a word that does not fit, and for a configuration that the library refuses.
    """
    configs: dict[str, dict[str, Any]] = {task: {} for task in tasks}
    known = {task: gym_library.fields(task) for task in tasks}
    said = [word.partition("=")[0] for word in words]
    for word in words:
        where, equals, text = word.partition("=")
        task, _, name = where.rpartition(".")
        if not equals or not name:
            raise ValueError(f"--config {word}: wanted is NAME=VALUE or TASK.NAME=VALUE")
        if said.count(where) > 1:
            raise ValueError(f"--config {word}: {where} is set twice")
        if task and task not in configs:
            raise ValueError(
                f"--config {word}: {task!r} is not in --task; {nearest(task, tasks) or 'that has ' + ', '.join(tasks)}"
            )
        if name in gym_library.OWN_FIELDS:
            raise ValueError(f"--config {word}: {name} comes from --seed, --train and --test")
        having = [one for one in ([task] if task else tasks) if name in known[one]]
        if not having:
            fields = {field for one in ([task] if task else tasks) for field in known[one]}
            hint = nearest(name, fields) or f"there are {', '.join(sorted(fields))}"
            raise ValueError(f"--config {word}: {task or ', '.join(tasks)} has no field {name!r}; {hint}")
        for one in having:
            if name in configs[one] and not task:
                continue  # TASK.NAME stands, wherever it was said
            try:
                configs[one][name] = gym_library.parsed(text, known[one][name])
            except ValueError as error:
                raise ValueError(f"--config {word}: {one}: {error}") from error
    for task, config in configs.items():
        gym_library.data_set(task, config)
    return configs


def shares(n: int, tasks: Sequence[str]) -> dict[str, int]:
    """n problems, as evenly over the tasks as they go."""
    return {task: n // len(tasks) + (i < n % len(tasks)) for i, task in enumerate(tasks)}


def gym_files(configs: Mapping[str, Mapping[str, Any]], train: int, test: int, options: Options) -> Files:
    """Train in a seeded order, and test by task. The demos are train problems that stand in neither file."""
    tasks = list(configs)
    if not train and not test:
        raise ValueError("--train and --test are both 0: nothing to write")
    for name, n in (("train", train), ("test", test)):
        if 0 < n < len(tasks):
            raise ValueError(f"--{name} is {n}, allowed are 0 and {len(tasks)} or more: one problem for each task")
    wanted = {"train": shares(train, tasks), "test": shares(test, tasks), "demos": shares(options.demos, tasks)}
    requests = [
        (
            task,
            dict(configs[task]),
            {"train": wanted["train"][task] + wanted["demos"][task], "test": wanted["test"][task]},
        )
        for task in tasks
    ]
    found: dict[str, list[tuple[str, str, str]]] = {"train": [], "test": [], "demos": []}  # (task, question, label)
    with Progress("deltal data", "problems", train + test + options.demos, after=2.0) as progress:
        for line in _made(requests, options.seed):
            task = line["task"]
            if "label" not in line:
                options.say(_left_out(line))
                continue
            split = line["split"]
            if split == "train" and sum(one == task for one, *_ in found["demos"]) < wanted["demos"][task]:
                split = "demos"
            found[split].append((task, line["question"], line["label"]))
            progress.update(sum(map(len, found.values())))
    random.Random(options.seed).shuffle(found["train"])
    demos = [demo_of(question, label) for _, question, label in _in_turn(found["demos"], tasks)]
    files = {}
    for name in ("train", "test"):
        if found[name]:
            rows = [
                Row(TAGGED[options.template](question, demos), label, task) for task, question, label in found[name]
            ]
            files[name] = measured(name, [question for _, question, _ in found[name]], rows, options)
    return files


def _in_turn(demos: Sequence[tuple[str, str, str]], tasks: Sequence[str]) -> list[tuple[str, str, str]]:
    """The first demo of each task, then the second of each."""
    of = {task: [demo for demo in demos if demo[0] == task] for task in tasks}
    return [of[task][i] for i in range(len(demos)) for task in tasks if i < len(of[task])]


def demo_of(question: str, label: str) -> Demo:
    """The problem with the library's answer. A chain_sum is worked out: a running total, one line a step."""
    found = read_label(label)
    work = running_total(found.metadata["expression"]) if found.task == "chain_sum" else ""
    return Demo(question, work, f"<answer>{found.answer}</answer>")


def running_total(expression: str) -> str:
    """ "12 + 45 - 13" as "12 + 45 = 57" and, on a line of its own, "57 - 13 = 44". Terms and signs are parted by spaces."""
    first, *rest = expression.split()
    total, lines = int(first), []
    for sign, term in zip(rest[::2], rest[1::2], strict=True):
        value = total + int(term) if sign == "+" else total - int(term)
        lines.append(f"{total} {sign} {term} = {value}")
        total = value
    return "\n".join(lines)


def _left_out(line: Mapping[str, Any]) -> str:
    unfit = f"; {line['unfit']:,} that cannot be scored: {line['why']}" if line["unfit"] else ""
    return f"{line['task']}: left out {line['repeats']:,} that repeat an earlier one, {line['in_test']:,} that are in test{unfit}"


def _made(requests: Sequence[tuple[str, dict[str, Any], dict[str, int]]], seed: int) -> Iterator[dict[str, Any]]:
    """The lines of gym_problems.py. Raises ValueError for what it refuses."""
    path = os.pathsep.join([_PACKAGE_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "deltal_openrlhf.data.gym_problems"]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, env=environment, text=True
        )
        try:
            assert process.stdin is not None and process.stdout is not None
            with suppress(BrokenPipeError), process.stdin as stdin:
                json.dump({"requests": requests, "seed": seed}, stdin)
            for text in process.stdout:
                if not text.endswith("\n"):
                    break  # it ended within a line
                line = json.loads(text)
                if "error" in line:
                    raise ValueError(line["error"])
                yield line
            if process.wait():
                said.seek(0)
                last = (said.read().strip().splitlines() or [""])[-1]
                raise ValueError(f"reasoning-gym ended with exit code {process.returncode}: {last[:200]}")
        finally:
            process.kill()
            process.stdout.close()  # type: ignore[union-attr]
            process.wait()
