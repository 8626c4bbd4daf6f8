"""Turns problems into the rows of train and eval files: without duplicates, without over-long prompts, in a seeded order."""

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from deltal_openrlhf.data import templates
from deltal_openrlhf.data.demos import math_demo
from deltal_openrlhf.data.duplicates import EvalIndex, with_different_labels, without_repeats
from deltal_openrlhf.data.math_problems import Problem
from deltal_openrlhf.data.output import Row
from deltal_openrlhf.data.prompt_tokens import characters, token_lengths


class Prompt(NamedTuple):
    """A problem on its way to a file.

    text: the problem alone. row: as it is written. length: that of the prompt, in tokens with a tokenizer, else in characters.
    """

    text: str
    row: Row
    length: int


Files = dict[str, list[Prompt]]
"""By name, without suffix. `train` is trained on, every other one is an eval file."""


@dataclass(frozen=True)
class Options:
    template: str
    """base or chat"""
    tokenizer: Any = None
    """measures prompts; None counts characters"""
    max_prompt_tokens: int | None = None
    """longer prompts are left out"""
    seed: int = 0
    """of the order of the train problems"""
    holdout: int = 0
    """train problems that become an eval file of their own"""
    demos: int = 0
    """worked examples in front of each question: train problems that are left out of the train file"""
    say: Callable[[str], None] = print
    """takes a line about each step"""


T = TypeVar("T", Problem, Prompt)


def math_files(
    train: list[Problem], evals: Mapping[str, list[Problem]], datasources: Mapping[str, str], options: Options
) -> Files:
    """Train, the eval sets in their own order, and the holdout if one is wanted.

    Train loses its repeated problems and those that stand in an eval set, the holdout or the demos. Eval sets lose only over-long prompts.
    datasources: those of the files whose datasource is not their name. Raises ValueError if a file would be empty.
    """
    template = templates.MATH[options.template]
    unlike = _without_eval(_without_repeats(train, options), evals, options)
    shown, unlike = _demos(unlike, options)
    demos = [math_demo(problem) for problem in shown]

    def prompts(name: str, problems: Sequence[Problem]) -> list[Prompt]:
        datasource = datasources.get(name, name)
        rows = [Row(template(problem.text, demos), problem.label, datasource) for problem in problems]
        return measured(name, [problem.text for problem in problems], rows, options)

    files = {"train": prompts("train", unlike)}
    files |= {name: prompts(name, problems) for name, problems in evals.items()}
    random.Random(options.seed).shuffle(files["train"])
    if options.holdout:
        files |= _hold_out(files["train"], options)
    _note_shared_prompts(files, options)
    return files


def measured(name: str, texts: Sequence[str], rows: Sequence[Row], options: Options) -> list[Prompt]:
    """The rows with their lengths, without those above max_prompt_tokens. Raises ValueError if none is left."""
    inputs = [row.input for row in rows]
    lengths = token_lengths(inputs, options.tokenizer) if options.tokenizer else list(map(characters, inputs))
    prompts = list(map(Prompt, texts, rows, lengths))
    if options.max_prompt_tokens is not None:
        prompts = [prompt for prompt in prompts if prompt.length <= options.max_prompt_tokens]
        options.say(f"{name}: dropped {len(rows) - len(prompts):,} longer than {options.max_prompt_tokens} tokens")
    if not prompts:
        raise ValueError(f"{name}: no problem is left to write")
    return prompts


def _without_repeats(problems: list[Problem], options: Options) -> list[Problem]:
    kept = [problems[position] for position in without_repeats((problem.text, problem.label) for problem in problems)]
    options.say(f"train: dropped {len(problems) - len(kept):,} that repeat an earlier one")
    if different := with_different_labels((problem.text, problem.label) for problem in kept):
        first = kept[different[0]]
        options.say(
            f"note: {len(different):,} train problems stand there with several answers; the first: {first.text[:80]!r}"
        )
    return kept


def _without_eval(train: list[T], evals: Mapping[str, Sequence[Problem | Prompt]], options: Options) -> list[T]:
    """The train problems that stand in no eval set. Prints how many do, for each set."""
    if not evals:
        return train
    index = EvalIndex({name: [problem.text for problem in problems] for name, problems in evals.items()})
    found = [index.find(problem.text) for problem in train]
    counts = Counter(pair for sets in found for pair in sets.items())
    each = [f"{name} {counts[name, 'same']:,} + {counts[name, 'near']:,}" for name in evals]
    total = sum(map(bool, found))
    options.say(f"train: dropped {total:,} found in eval sets (same text + nearly the same): {', '.join(each)}")
    return [problem for problem, sets in zip(train, found, strict=True) if not sets]


def _demos(train: list[Problem], options: Options) -> tuple[list[Problem], list[Problem]]:
    """The problems that are worked examples, and the others, without those that resemble one."""
    if not options.demos:
        return [], train
    usable = [problem for problem in train if problem.solution is not None]
    if len(usable) < options.demos:
        found = f"only {len(usable):,}" if usable else "no"
        raise ValueError(
            f"--demos {options.demos}: {found} train problems come with a worked solution that marks no other answer than "
            "theirs; it has to stand in a column solution, in GSM8K's answer or in an assistant's message"
        )
    shown = random.Random(f"demos {options.seed}").sample(usable, options.demos)
    options.say(f"train: took {len(shown):,} as worked examples, so they are left out")
    rest = [problem for problem in train if not any(problem is one for one in shown)]
    return shown, _without_eval(rest, {"demos": shown}, options)


def _hold_out(train: list[Prompt], options: Options) -> Files:
    """The first prompts as `holdout`. The others that do not resemble them become `train`."""
    n = options.holdout
    if n >= len(train):
        raise ValueError(f"--holdout {n}: train has only {len(train):,} problems")
    holdout = [prompt._replace(row=prompt.row._replace(datasource="holdout")) for prompt in train[:n]]
    unlike = _without_eval(train[n:], {"holdout": holdout}, options)
    if not unlike:
        raise ValueError(f"--holdout {n}: all other train problems are like them")
    return {"train": unlike, "holdout": holdout}


def _note_shared_prompts(files: Files, options: Options) -> None:
    """Print a note about prompts in several eval files. The host's own evaluation finds the set of a response by its prompt."""
    evals = [prompts for name, prompts in files.items() if name != "train"]
    holders = Counter(text for prompts in evals for text in {json.dumps(prompt.row.input) for prompt in prompts})
    shared = sum(count > 1 for count in holders.values())
    if shared:
        options.say(
            f"note: {shared:,} prompts stand in several eval files; the host's evaluation counts them in the last only"
        )
