"""`deltal report`: one HTML page of one or several training runs."""

from collections.abc import Sequence
from pathlib import Path

from deltal_openrlhf.runs.command import OneLineParser, run_command
from deltal_openrlhf.runs.packages import check_report_packages

PROG = "deltal report"
NAME = "report.html"
EPILOG = """\
The page opens without a network. It has curves of the metrics and evaluations. A run with --deltal.save_rollouts 20 also gets a table of
responses with their rewards and weights. The page can be made while the run is going.

  deltal report runs/dapo runs/grpo runs/deltal --out compare.html
"""


def parser() -> OneLineParser:
    made = OneLineParser(
        prog=PROG,
        usage="deltal report RUN [RUN ...] [--out FILE]",
        description="Make one HTML page of a training run, or of several side by side.",
        epilog=EPILOG,
    )
    made.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run (its --ckpt.output_dir)")
    made.add_argument("--out", type=Path, metavar="FILE", help=f"the page (default {NAME} in the first RUN)")
    return made


def main(argv: Sequence[str]) -> int:
    """Exit status: 0, 2 (bad input), 130 (Ctrl-C), 143 (SIGTERM)."""
    command = parser()
    args = command.parse_args(argv)
    return run_command(command, lambda: _report(args.runs, args.out or args.runs[0] / NAME))


def _report(folders: Sequence[Path], out: Path) -> int:
    from deltal_openrlhf.training_report.folder import read_runs

    check_report_packages()
    if out.is_dir():
        raise ValueError(f"--out {out}: is a folder, wanted is a file such as {out / NAME}")
    runs = read_runs(folders)
    from deltal_openrlhf.training_report.page import write_page  # matplotlib takes a second

    print(f"{write_page(runs, out)}\nreport: {out}")
    return 0
