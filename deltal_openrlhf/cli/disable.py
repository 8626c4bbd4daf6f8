"""`deltal disable`: removes what `deltal enable` wrote."""

import argparse
import sys
from collections.abc import Sequence

from deltal_openrlhf.cli.enable import pth_path
from deltal_openrlhf.standins.redirect import HOST_MODULE


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="deltal disable", description=f"Undo `deltal enable`: {HOST_MODULE} is the stock one."
    )
    parser.parse_args(argv)
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
