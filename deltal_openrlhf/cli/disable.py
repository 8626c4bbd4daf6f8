"""`deltal disable`: removes what `deltal enable` wrote."""

import sys
from collections.abc import Sequence

from deltal_openrlhf.cli.enable import pth_path
from deltal_openrlhf.runs.command import OneLineParser
from deltal_openrlhf.standins.redirect import HOST_MODULE


def parser() -> OneLineParser:
    what = f"Undo `deltal enable`: {HOST_MODULE} becomes OpenRLHF's own again."
    return OneLineParser(prog="deltal disable", usage="deltal disable", description=what, epilog="  deltal disable")


def main(argv: Sequence[str]) -> int:
    parser().parse_args(argv)
    path = pth_path()
    try:
        path.unlink()
    except FileNotFoundError:
        print(f"not enabled: there is no {path}")
    except OSError as error:
        print(f"deltal disable: cannot remove {path}: {error.strerror}", file=sys.stderr)
        return 1
    else:
        print(f"disabled: removed {path}")
    return 0
