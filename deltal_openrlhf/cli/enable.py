"""`deltal enable`: the stock command takes ∆L's flags in this environment.

Writes one file, site-packages/deltal_openrlhf.pth: a line that Python runs when it starts. The line does nothing unless
Python is being started with -m openrlhf.cli.train_ppo_ray; then redirect.py restarts it with our module. No file of OpenRLHF
is changed.
"""

import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from deltal_openrlhf.runs.command import OneLineParser
from deltal_openrlhf.runs.files import write_atomically
from deltal_openrlhf.runs.packages import installed_version
from deltal_openrlhf.standins.redirect import HOST_MODULE, pth_line

LINE = pth_line("deltal_openrlhf.standins.redirect", "restart")


def pth_path() -> Path:
    return Path(sysconfig.get_path("purelib")) / "deltal_openrlhf.pth"


def is_enabled() -> bool:
    try:
        return pth_path().read_text(encoding="utf-8") == LINE
    except FileNotFoundError:
        return False


DESCRIPTION = f"""\
Let `python -m {HOST_MODULE}` take ∆L's flags in this environment. The command writes one file, deltal_openrlhf.pth in site-packages, and
changes no file of OpenRLHF. Python reads the line in it at every start; it acts only when that module is started.
"""


def parser() -> OneLineParser:
    example = f"  deltal enable && python -m {HOST_MODULE} --loss_agg deltal ..."
    return OneLineParser(prog="deltal enable", usage="deltal enable", description=DESCRIPTION, epilog=example)


def main(argv: Sequence[str]) -> int:
    parser().parse_args(argv)
    if installed_version("deltal-openrlhf") is None:
        print(
            "deltal enable: deltal-openrlhf is not installed in this environment: pip install deltal-openrlhf",
            file=sys.stderr,
        )
        return 1
    path = pth_path()
    if is_enabled():
        print(f"already enabled by {path}")
        return 0
    try:
        write_atomically(path, LINE)
    except OSError as error:
        print(f"deltal enable: cannot write {path}: {error.strerror}; use an environment of your own", file=sys.stderr)
        return 1
    print(
        f"enabled: python -m {HOST_MODULE} now takes --loss_agg, --alpha and --deltal.*; `deltal disable` removes {path}"
    )
    return 0
