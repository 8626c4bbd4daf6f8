"""The files of countdown problems, generated or chosen from a source."""

import random
from collections.abc import Mapping
from typing import Any

from deltal_openrlhf.data import countdown
from deltal_openrlhf.data.demos import countdown_demos
from deltal_openrlhf.data.output import Row
from deltal_openrlhf.data.prepare import Files, Options, measured
from deltal_openrlhf.data.sources import Skipped


def countdown_files(
    train: int,
    test: int,
    source: str | None,
    ranges: Mapping[str, Any],
    skipped: list[Skipped] | None,
    options: Options,
) -> Files:
    """Train and test, each of so many problems, without a file for 0. ranges: of generated problems, as countdown.generate takes them.

    The demos are the last train problems that were made or chosen. They stand in no file. Raises ValueError where there are too few
    problems, and for ranges with a source.
    """
    wanted = {split: n for split, n in (("train", train), ("test", test)) if n}
    if not wanted:
        raise ValueError("--train and --test are both 0: nothing to write")
    problems = _problems(
        {**wanted, **({"train": train + options.demos} if options.demos else {})}, source, ranges, skipped, options
    )
    demos = countdown_demos(problems["train"][train:]) if options.demos else []
    template, files = countdown.TEMPLATES[options.template], {}
    for split, n in wanted.items():
        kept = problems[split][:n]
        labels = [countdown.label(*problem) for problem in kept]
        rows = [Row(template(*problem, demos), label, "countdown") for problem, label in zip(kept, labels, strict=True)]
        files[split] = measured(split, labels, rows, options)
    return files


def _problems(
    wanted: Mapping[str, int],
    source: str | None,
    ranges: Mapping[str, Any],
    skipped: list[Skipped] | None,
    options: Options,
) -> dict[str, list[countdown.Problem]]:
    """So many problems of each split."""
    if source is None:
        return {split: countdown.generate(n, **ranges, seed=options.seed, split=split) for split, n in wanted.items()}
    if ranges:
        raise ValueError(f"--{next(iter(ranges))} is for generated problems, not for those of --source")
    options.say(f"reading {source}")
    everything = countdown.load(source, skipped)
    loaded = {split: countdown.without_repeats(problems) for split, problems in everything.items()}
    repeats = {split: len(everything[split]) - len(loaded[split]) for split in loaded}
    options.say(f"dropped that repeat an earlier one: {', '.join(f'{split} {n:,}' for split, n in repeats.items())}")
    for split, n in wanted.items():
        if n > len(loaded[split]):
            raise ValueError(f"{source}: {n} {split} problems wanted, there are {len(loaded[split])}")
    chosen = {}
    without: list[countdown.Problem] | None = None if skipped is None else []
    for split, n in wanted.items():
        try:
            chosen[split] = countdown.choose(loaded[split], n, random.Random(options.seed), without)
        except ValueError as error:
            raise ValueError(f"{source}: {split}: {error}") from error
    if skipped is not None:
        skipped += [Skipped(source, None, "it has no solution", problem._asdict()) for problem in without or ()]
    return chosen
