"""`deltal compare`: training runs of several methods side by side, with paired differences and their intervals."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deltal_openrlhf.comparison.pool import ENGINES
from deltal_openrlhf.comparison.spec import read_spec
from deltal_openrlhf.reports.numbers import count
from deltal_openrlhf.runs.command import OneLineParser, check_numbers, run_command
from deltal_openrlhf.runs.journal import SETTINGS
from deltal_openrlhf.runs.packages import check_report_packages

PROG = "deltal compare"
EPILOG = """\
The file says what is compared: docs/reference/compare.md. Flags of the command line win over it. The runs, comparison.json and the
report go into --out. After an interruption the same command resumes. Runs that began with other settings are refused.

  deltal compare compare/countdown --start runs/starts/start0 --out runs/compare
"""


def parser() -> OneLineParser:
    made = OneLineParser(
        prog=PROG,
        usage="deltal compare NAME_OR_FILE --out DIR [options]",
        description="Train every method on the same prompts from the same starts and seeds, and compare them with intervals.",
        epilog=EPILOG,
    )
    made.add_argument(
        "file", metavar="NAME_OR_FILE", help="the experiment: a YAML file, or a shipped one such as compare/countdown"
    )
    made.add_argument("--start", nargs="+", metavar="DIR", help="checkpoints to start from, in place of the file's")
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for runs and report")
    made.add_argument(
        "--engine",
        choices=ENGINES,
        help="loop: one process for each run, transformers only; pipeline: deltal train (Ray, vLLM, DeepSpeed)",
    )
    made.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="runs at once (default: one for each core with loop and no GPU, else 1)",
    )
    made.add_argument("--arm", nargs="+", metavar="NAME", help="run only these arms")
    made.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="seeds, in place of the file's")
    made.add_argument("--retry_crashed", action="store_true", help="repeat the runs that crashed")
    made.add_argument("--dry_run", action="store_true", help="check everything, print what would run, and end")
    return made


def main(argv: Sequence[str]) -> int:
    """Exit status: 0, 1 (a run crashed), 2 (bad input), 130 (Ctrl-C), 143 (SIGTERM)."""
    command = parser()
    args = command.parse_args(argv)
    return run_command(command, lambda: _compare(args, argv), lambda: any((args.out / "runs").rglob(SETTINGS)))


def _compare(args: argparse.Namespace, argv: Sequence[str]) -> int:
    check_report_packages()
    from deltal_openrlhf.comparison.run import COMPARISON, overview, plan, run_comparison

    spec = read_spec(args.file, engine=args.engine, starts=args.start, seeds=args.seeds)
    arms = spec.chosen_arms(args.arm)
    check_numbers(args, {"workers": 1})
    if args.dry_run:
        print(plan(spec, arms, args.out))
        return 0
    comparison = run_comparison(
        spec,
        arms,
        args.out,
        ENGINES[spec.engine],
        workers=args.workers or _default_workers(spec.engine),
        retry_crashed=args.retry_crashed,
        command=shlex.join([*PROG.split(), *argv]),
    )
    print(overview(comparison))
    print(f"report and {COMPARISON}: {args.out}")
    chosen = {arm.name for arm in arms}
    of_chosen = [arm for arm in comparison["arms"] if arm["name"] in chosen]
    crashed = sum(len(method["crashed"]) for arm in of_chosen for method in arm["methods"])
    # A learning rate whose trial crashed is ruled out, which is what trials are for; a family needs one that is left.
    crashed += sum(row["crashed"] for arm in of_chosen for row in arm["learning_rates"] if not _has_rate(arm, row))
    if crashed:
        print(f"{PROG}: {count(crashed, 'run')} crashed; --retry_crashed runs them again", file=sys.stderr)
    return 1 if crashed else 0


def _has_rate(arm: dict[str, Any], row: dict[str, Any]) -> bool:
    """Whether a learning rate was chosen for the family of this trial."""
    return any(other["chosen"] for other in arm["learning_rates"] if other["family"] == row["family"])


def _default_workers(engine: str) -> int:
    import torch

    shared = torch.cuda.is_available()  # one GPU for all of them
    return 1 if shared or not ENGINES[engine].in_process else len(os.sched_getaffinity(0))
