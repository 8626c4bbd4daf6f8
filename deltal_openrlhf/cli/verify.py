"""`deltal verify`: does this machine compute the update that it should? Run it before you trust the machine."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from deltal_openrlhf.runs.command import OneLineParser, interrupted, terminable

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

  deltal verify
  deltal verify --only gradients --seconds 900     # every mode, cut and feature
"""


def parser() -> OneLineParser:
    made = OneLineParser(prog=PROG, usage="deltal verify [options]", description=DESCRIPTION, epilog=EPILOG)
    made.add_argument("--only", nargs="+", metavar="PART", choices=list(PARTS), help="run these parts only")
    made.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
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
    return made


def main(argv: Sequence[str]) -> int:
    command = parser()
    args = command.parse_args(argv)
    if not args.seconds > 0:
        command.error(f"--seconds is {args.seconds:g}, allowed is a number above 0")
    if args.json and not args.json.absolute().parent.is_dir():
        command.error(f"--json is {args.json}, but there is no folder {args.json.absolute().parent}")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # of the hosts, in the processes of the ranks
    # Here, so that --help and wrong flags do not wait for torch.
    from deltal_openrlhf import cpu
    from deltal_openrlhf.host.process import prepare

    cpu.set_environment()
    prepare()
    from deltal_openrlhf.verify.run import verify

    try:
        with terminable():
            report = verify(args.only or list(PARTS), args.seconds, args.json)
    except KeyboardInterrupt as stop:
        return interrupted(PROG, stop)
    passed, failed = len(report.passed), len(report.failed)
    if not passed and not failed:
        print(f"{PROG}: no case was judged", file=sys.stderr)
        return 1
    print(f"{passed} case(s) passed, {failed} failed")
    return 1 if failed else 0
