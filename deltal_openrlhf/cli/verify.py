"""`deltal verify`: does this machine compute the update that it should? Run it before you trust the machine."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deltal_openrlhf import modes
from deltal_openrlhf.runs.command import OneLineParser, interrupted, terminable

if TYPE_CHECKING:
    from deltal_openrlhf.verify.outcome import Report

PROG = "deltal verify"
SECONDS = 200.0
PARTS = {
    "machine": "versions, two ceilings, and whether two ranks can talk",
    "gradients": "the DeepSpeed trainer against brute force, and planted mistakes",
    "guards": "a loss or gradient that is not finite stops a run in time",
    "megatron": "the Megatron backend against one process, and planted mistakes",
    "logprob": "log-probabilities in chunks: memory, error and time",
    "overhead": "what ∆L and its guards cost",
}
"""The parts run in this order."""
DESCRIPTION = "Check on this machine that training computes the right update. The parts:\n\n" + "\n".join(
    f"  {name:<10} {what}" for name, what in PARTS.items()
)
EPILOG = """\
Each line is one case: its verdict (ok, FAILED, or - where nothing is judged), its seconds, and what was found. The exit status is 1 if a
case failed. It needs neither Ray nor vLLM nor flash-attn. Two ranks share a single GPU. All parts take about four minutes on two cores.

With --trainer it checks a trainer of your own instead, in seconds: is its update the same for every cut into micro batches? FUNCTION takes
(batch, micro_batches) and gives the gradient; docs/guide/adapters.md has an example. It needs torch alone.

  deltal verify
  deltal verify --only gradients --seconds 900     # every mode, cut and feature
  deltal verify --trainer mytrainer:gradient --loss_agg token-mean
"""
TRAINER = ("loss_agg", "alpha", "max_length")
"""Flags that belong to --trainer."""


def parser() -> OneLineParser:
    made = OneLineParser(prog=PROG, usage="deltal verify [options]", description=DESCRIPTION, epilog=EPILOG)
    made.add_argument("--only", nargs="+", metavar="PART", choices=list(PARTS), help="run these parts only")
    made.add_argument(
        "--seconds",
        type=float,
        metavar="N",
        help=f"begin no further case after N seconds in all (default {SECONDS:.0f}). Every part runs its first cases anyway, and says what "
        "it leaves out.",
    )
    made.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write a line of JSON for each case into FILE, in place of an earlier one",
    )
    trainer = made.add_argument_group("your own trainer")
    trainer.add_argument("--trainer", metavar="MODULE:FUNCTION", help="check it instead of this machine")
    trainer.add_argument(
        "--loss_agg",
        type=modes.mode,
        choices=modes.MODES,
        metavar="MODE",
        help="compare it with this mode by brute force",
    )
    trainer.add_argument("--alpha", type=float, metavar="A", help="exponent of the mode deltal, 0 to 1")
    trainer.add_argument("--max_length", type=float, metavar="M", help="M of the modes that divide by it, in tokens")
    return made


def main(argv: Sequence[str]) -> int:
    command = parser()
    args = command.parse_args(argv)
    if args.trainer is None and (given := [name for name in TRAINER if getattr(args, name) is not None]):
        command.error(f"--{given[0]} is given without --trainer, which it belongs to")
    if args.trainer is not None and (args.only or args.seconds is not None):
        command.error("--trainer is given with --only or --seconds, which belong to the checks of this machine")
    if args.seconds is not None and not args.seconds > 0:
        command.error(f"--seconds is {args.seconds:g}, allowed is a number above 0")
    if args.json and not args.json.absolute().parent.is_dir():
        command.error(f"--json is {args.json}, but there is no folder {args.json.absolute().parent}")
    if args.trainer is not None:
        return check_trainer(command, args)
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # of the hosts, in the processes of the ranks
    # Here, so that --help and wrong flags do not wait for torch.
    from deltal_openrlhf import cpu
    from deltal_openrlhf.host.process import prepare

    cpu.set_environment()
    prepare()
    from deltal_openrlhf.verify.run import verify

    try:
        with terminable():
            report = verify(args.only or list(PARTS), args.seconds or SECONDS, args.json)
    except KeyboardInterrupt as stop:
        return interrupted(PROG, stop)
    return verdict(report)


def check_trainer(command: OneLineParser, args: argparse.Namespace) -> int:
    from deltal_openrlhf.aggregation import Aggregation
    from deltal_openrlhf.verify import trainer

    try:
        aggregation = None
        if args.loss_agg is not None:
            try:
                aggregation = Aggregation(args.loss_agg, alpha=args.alpha, max_length=args.max_length)
            except ValueError as error:  # it begins with the name of a field, which is that of its flag
                raise ValueError(f"--{error}") from error
        elif args.alpha is not None or args.max_length is not None:
            raise ValueError("--alpha and --max_length are given without --loss_agg, which they belong to")
        gradient = trainer.load(args.trainer)
    except ValueError as error:
        command.error(str(error))
    try:
        with terminable():
            report = trainer.verify_trainer(gradient, aggregation, args.json)
    except KeyboardInterrupt as stop:
        return interrupted(PROG, stop)
    return verdict(report)


def verdict(report: "Report") -> int:
    """Print the last line, and give the exit status."""
    passed, failed = len(report.passed), len(report.failed)
    if not passed and not failed:
        print(f"{PROG}: no case was judged", file=sys.stderr)
        return 1
    print(f"{passed} case(s) passed, {failed} failed")
    return 1 if failed else 0
