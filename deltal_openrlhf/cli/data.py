"""`deltal data countdown|math|gsm8k|reasoning-gym|shapes`: train and eval files for OpenRLHF.

Everything is read and checked before the first file is written, and all files get their names together.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from deltal_openrlhf.data import countdown, gym_files, math_problems, report, shapes
from deltal_openrlhf.data.countdown_files import countdown_files
from deltal_openrlhf.data.math_problems import Problem, read_gsm8k, read_math
from deltal_openrlhf.data.output import FORMATS, SKIPPED, Row, Written, write
from deltal_openrlhf.data.prepare import Files, Options, math_files
from deltal_openrlhf.data.prompt_tokens import load_tokenizer
from deltal_openrlhf.data.sources import FORMS, Skipped, folder_problem
from deltal_openrlhf.models import remote_code
from deltal_openrlhf.rewards import named
from deltal_openrlhf.runs.command import OneLineParser, interrupted, nearest, terminable

DESCRIPTION = "Write train and eval files for OpenRLHF. Each row has input (the prompt), label (what the reward reads) and datasource."
SOURCES = f"A SOURCE is a local file or a data set on the hub; {FORMS}."
EVAL_SETS = "\n".join(f"  {name:<10} {source}" for name, source in math_problems.EVAL.items())
EVAL_NAME = re.compile(r"[A-Za-z0-9_-]+")
RESERVED = ("train", "holdout")
REWARDS = {
    "countdown": named.COUNTDOWN,
    "math": named.MATH,
    "gsm8k": named.MATH,
    "reasoning-gym": named.REASONING_GYM,
    "shapes": named.MATH,
}
"""By task."""
AddTask = Callable[..., argparse.ArgumentParser]
"""add_parser of argparse's subparsers."""


def main(argv: Sequence[str]) -> int:
    args = parser().parse_args(argv)
    try:
        args.skipped = [] if args.skip_bad else None
        with terminable():
            files = args.files(args, _options(args))
            rows: dict[str, Sequence[Row]] = {name: [prompt.row for prompt in files[name]] for name in files}
            written = write(rows, args.out, args.format, args.skipped)
    except ValueError as error:
        print(f"deltal data {args.task}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        return interrupted(f"deltal data {args.task}", stop)
    _report(args, files, written)
    _note_older_files(args, written)
    return 0


def parser() -> OneLineParser:
    made = OneLineParser(
        prog="deltal data",
        usage="deltal data countdown|math|gsm8k|reasoning-gym|shapes --out DIR [options]",
        description=DESCRIPTION,
        epilog="deltal data math --help shows the flags of a task.\n\n  deltal data countdown --out data/countdown",
    )
    tasks = made.add_subparsers(prog=made.prog, dest="task", required=True, title="tasks", metavar="TASK")
    for add in (_add_countdown, _add_math, _add_gsm8k, _add_gym, _add_shapes):
        add(tasks.add_parser)
    return made


def _add_countdown(add_task: AddTask) -> None:
    task = add_task(
        "countdown",
        help="make a target from given numbers",
        usage="deltal data countdown --out DIR [options]",
        description=DESCRIPTION,
        epilog=f"{SOURCES}\n\n  deltal data countdown --num_numbers 3 4 --out data/countdown",
    )
    task.set_defaults(files=_countdown_files, holdout=0)
    _add_numbers(task, train=20_000, test=512)
    task.add_argument("--source", help=f"choose from the problems of this source, such as {countdown.HUB_NAME}")
    pair = ("LEAST", "MOST")
    task.add_argument("--num_numbers", type=int, nargs=2, metavar=pair, help="numbers in a problem (default 3 6)")
    task.add_argument("--low", type=int, metavar="N", help="least number (default 1)")
    task.add_argument("--high", type=int, metavar="N", help="largest number (default 99)")
    task.add_argument("--max_target", type=int, metavar="N", help="largest target (default 100)")
    _add_common(task)


def _add_math(add_task: AddTask) -> None:
    task = add_task(
        "math",
        help="competition problems: train, and one eval file for each set",
        usage="deltal data math --out DIR [options]",
        description=DESCRIPTION,
        epilog=f"{SOURCES} The known eval sets:\n\n{EVAL_SETS}\n\n"
        "  deltal data math --eval math500 mine=my.jsonl --out data/math",
    )
    task.set_defaults(files=_math_files)
    task.add_argument(
        "--train", default=math_problems.TRAIN, metavar="SOURCE", help="train problems (default %(default)s)"
    )
    sets = "eval sets: known names (default: all, see below) or any NAME=SOURCE; --eval alone: none"
    task.add_argument("--eval", nargs="*", action="extend", metavar="NAME[=SOURCE]", help=sets)
    _add_holdout(task)
    _add_common(task)


def _add_gsm8k(add_task: AddTask) -> None:
    task = add_task(
        "gsm8k",
        help="grade school problems: train and test",
        usage="deltal data gsm8k --out DIR [options]",
        description=DESCRIPTION,
        epilog=f"{SOURCES}\n\n  deltal data gsm8k --holdout 256 --out data/gsm8k",
    )
    task.set_defaults(files=_gsm8k_files)
    task.add_argument(
        "--train", default=math_problems.GSM8K_TRAIN, metavar="SOURCE", help="train problems (default %(default)s)"
    )
    task.add_argument(
        "--test", default=math_problems.GSM8K_TEST, metavar="SOURCE", help="test problems (default %(default)s)"
    )
    _add_holdout(task)
    _add_common(task)


def _add_gym(add_task: AddTask) -> None:
    task = add_task(
        "reasoning-gym",
        help="generated problems of the library reasoning-gym, such as chain_sum",
        usage="deltal data reasoning-gym --task TASK [TASK ...] --out DIR [options]",
        description=DESCRIPTION,
        epilog="  deltal data reasoning-gym --task chain_sum gcd --config max_terms=3 \\\n      --demos 4 --out data/sums",
    )
    task.set_defaults(files=_gym_files, holdout=0, skip_bad=False)
    task.add_argument(
        "--task",
        dest="tasks",
        nargs="+",
        action="extend",
        required=True,
        metavar="TASK",
        help="tasks of the library, also with commas between them; each has the same share of the problems",
    )
    fields = "fields of the configurations: NAME=VALUE for every task that has the field, TASK.NAME=VALUE for one (default: the library's)"
    task.add_argument("--config", nargs="+", action="extend", metavar="NAME=VALUE", help=fields)
    _add_numbers(task, train=4000, test=256)
    _add_common(task, source=False)


def _add_shapes(add_task: AddTask) -> None:
    task = add_task(
        "shapes",
        help="pictures, and the question how many shapes of a kind they show",
        usage="deltal data shapes --out DIR [options]",
        description=f"{DESCRIPTION} images holds the picture.",
        epilog="  deltal data shapes --out data/shapes",
    )
    task.set_defaults(
        files=_shapes_files, holdout=0, skip_bad=False, template="chat", demos=0, tokenizer=None, max_prompt_tokens=None
    )
    _add_numbers(task, train=4000, test=256)
    _add_out(task)


def _add_numbers(task: argparse.ArgumentParser, train: int, test: int) -> None:
    for name, n in (("train", train), ("test", test)):
        task.add_argument(f"--{name}", type=_count, default=n, metavar="N", help=f"{name} problems (default {n})")


def _add_holdout(task: argparse.ArgumentParser) -> None:
    task.add_argument(
        "--holdout", type=_count, default=0, metavar="N", help="keep N train problems apart as one more eval file (default 0)"
    )  # fmt: skip


def _add_common(task: argparse.ArgumentParser, source: bool = True) -> None:
    """The flags that all tasks of text have. source: whether its problems are read from a source."""
    _add_out(task)
    task.add_argument(
        "--template", choices=("base", "chat"), default="base", help="base (default): text for a base model; chat: messages, "
        "for --data.apply_chat_template"
    )  # fmt: skip
    demos = "put N worked examples in front of each question, train problems that then stand in no file (default 0)"
    task.add_argument("--demos", type=_count, default=0, metavar="N", help=demos)
    task.add_argument("--tokenizer", metavar="NAME_OR_FOLDER", help="count the tokens of prompts with this tokenizer")
    if source:
        task.add_argument(
            "--skip_bad", action="store_true", help="leave out rows without a usable problem, and write them with the reasons to "
            f"{SKIPPED} in the folder (default: the first one is an error)"
        )  # fmt: skip
    limit = "leave longer prompts out of every file, and say how many"
    task.add_argument("--max_prompt_tokens", type=_count, metavar="N", help=limit)


def _add_out(task: argparse.ArgumentParser) -> None:
    task.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files")
    task.add_argument("--format", choices=FORMATS, default="jsonl", help="format of every file (default jsonl)")
    task.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the choice and order of problems (default 0)"
    )


def _count(text: str) -> int:
    if not re.fullmatch(r"\d{1,18}", text):
        raise argparse.ArgumentTypeError(f"{text!r}, allowed is a whole number, 0 or more")
    return int(text)


def _options(args: argparse.Namespace) -> Options:
    """What can be checked before a problem is read."""
    if args.max_prompt_tokens is not None and not args.tokenizer:
        raise ValueError("--max_prompt_tokens counts tokens and needs --tokenizer")
    if problem := folder_problem(args.out):
        raise ValueError(f"--out {args.out}: {problem}")
    tokenizer = None
    if args.tokenizer:
        remote_code.check(args.tokenizer, flag="--tokenizer")
        tokenizer = load_tokenizer(args.tokenizer, chat=args.template == "chat", trust_remote_code=False)
    return Options(args.template, tokenizer, args.max_prompt_tokens, args.seed, args.holdout, args.demos, _say)


def _countdown_files(args: argparse.Namespace, options: Options) -> Files:
    names = ("num_numbers", "low", "high", "max_target")
    ranges = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return countdown_files(args.train, args.test, args.source, ranges, args.skipped, options)


def _gym_files(args: argparse.Namespace, options: Options) -> Files:
    tasks = gym_files.tasks_of(args.tasks)
    configs = gym_files.configs_of(tasks, args.config or ())
    return gym_files.gym_files(configs, args.train, args.test, options)


def _shapes_files(args: argparse.Namespace, options: Options) -> Files:
    return shapes.shapes_files(args.train, args.test, options)


def _math_files(args: argparse.Namespace, options: Options) -> Files:
    sources = _eval_sources(list(math_problems.EVAL) if args.eval is None else args.eval)
    train = _read("train", args.train, read_math, args.skipped)
    evals = {name: _read(name, source, read_math, args.skipped) for name, source in sources.items()}
    return math_files(train, evals, {"train": "math"}, options)


def _gsm8k_files(args: argparse.Namespace, options: Options) -> Files:
    train = _read("train", args.train, read_gsm8k, args.skipped)
    test = _read("test", args.test, read_gsm8k, args.skipped)
    return math_files(train, {"test": test}, {"train": "gsm8k", "test": "gsm8k"}, options)


def _eval_sources(words: Sequence[str]) -> dict[str, str]:
    """{name: source} of NAME and NAME=SOURCE; a name alone must be one of math_problems.EVAL."""
    sources: dict[str, str] = {}
    known = math_problems.EVAL
    for word in words:
        name, equals, source = word.partition("=")
        if not EVAL_NAME.fullmatch(name) or name in RESERVED:
            allowed = f"a name has letters, digits, - and _, and is not {' or '.join(RESERVED)}"
            raise ValueError(f"--eval {word}: {allowed}, got {name!r}")
        if not equals and name not in known:
            hint = f"{close}; " if (close := nearest(name, known)) else ""
            raise ValueError(
                f"--eval {name}: no known set; {hint}known are {', '.join(known)}, and any other as NAME=SOURCE"
            )
        if name in sources:
            raise ValueError(f"--eval {name}: given twice")
        sources[name] = source if equals else known[name]
    return sources


def _read(name: str, source: str, reader: Callable[..., list[Problem]], skipped: list[Skipped] | None) -> list[Problem]:
    _say(f"reading {name}: {source}")
    before = len(skipped or ())
    problems = reader(source, skipped)
    left_out = len(skipped or ()) - before
    _say(f"  {len(problems):,} problems" + (f", {left_out:,} bad rows left out" if left_out else ""))
    if skipped and not problems:
        raise ValueError(f"{source}: every row is bad; the first: {skipped[before].why}")
    return problems


def _report(args: argparse.Namespace, files: Files, written: Sequence[Written]) -> None:
    prompts = {file.path.name: files[file.path.stem] for file in written}
    print()
    for file in written:
        print(f"wrote {file.path}: {file.rows:,} rows, sha256 {file.sha256}")
    if args.skipped is not None:
        print(f"wrote {args.out / SKIPPED}: {len(args.skipped):,} rows that were left out")
    print()
    lengths = {name: [prompt.length for prompt in prompts[name]] for name in prompts}
    print(*report.length_table(lengths, "tokens" if args.tokenizer else "characters"), sep="\n")
    if args.task in ("math", "gsm8k"):
        print()
        print(*report.answer_table({name: [p.row.label for p in prompts[name]] for name in prompts}), sep="\n")
    evals = ",".join(str(file.path) for file in written if file.path.stem != "train")
    flags = [f"--data.prompt_dataset {file.path}" for file in written if file.path.stem == "train"]
    flags += [f"--eval.dataset {evals}"] if evals else []
    flags += [f"--reward.remote_url {REWARDS[args.task]}", "--data.input_key input", "--data.label_key label"]
    flags += ["--data.apply_chat_template"] if args.template == "chat" else []
    flags += ["--data.max_images_per_prompt 1"] if args.task == "shapes" else []
    print(f"\nfor deltal train: {' '.join(flags)}")


def _note_older_files(args: argparse.Namespace, written: Sequence[Written]) -> None:
    """A train file is clean only against the eval files of its own run; countdown's splits are apart by themselves."""
    ours = {file.path for file in written}
    older = {path for format in FORMATS for path in args.out.glob(f"*.{format}")} - ours
    for path in sorted(older):
        not_clean = (
            "it was not cleaned against these eval files"
            if path.stem == "train"
            else "train was not cleaned against it"
        )
        _say(
            f"note: {path} is from an earlier run" + ("" if args.task in ("countdown", "shapes") else f": {not_clean}")
        )


def _say(line: str) -> None:
    print(line, flush=True)
