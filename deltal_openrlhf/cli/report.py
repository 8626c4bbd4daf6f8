"""`deltal report`: one HTML page of one or several training runs."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from deltal_openrlhf.runs.command import OneLineParser, run_command
from deltal_openrlhf.runs.packages import check_report_packages

PROG = "deltal report"
NAME = "report.html"
EPILOG = """\
  deltal report runs/countdown-deltal
  deltal report runs/dapo runs/grpo runs/deltal --out compare.html

The page opens without a network. It has curves of the metrics and of the evaluations, and a table of
responses with their rewards and weights if the run saved some (--deltal.save_rollouts 20).
It can be made while a run is going.
"""


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog=PROG,
        description="Make one HTML page of a training run, or of several side by side.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run (its --ckpt.output_dir)")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"the page (default: {NAME} in the first RUN)")
    return parser


def main(argv: Sequence[str]) -> int:
    """Exit status: 0, 2 (bad input), 130 (Ctrl-C), 143 (SIGTERM)."""
    parser = _parser()
    args = parser.parse_args(argv)
    return run_command(parser, lambda: _report(args.runs, args.out or args.runs[0] / NAME))


def _report(folders: Sequence[Path], out: Path) -> int:
    from deltal_openrlhf.training_report.folder import read_runs

    check_report_packages()
    if out.is_dir():
        raise ValueError(f"--out {out}: is a folder, wanted is a file such as {out / NAME}")
    runs = read_runs(folders)
    from deltal_openrlhf.training_report.page import write_page  # matplotlib takes a second

    print(f"{write_page(runs, out)}\nreport: {out}")
    return 0
