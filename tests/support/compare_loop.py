"""`deltal compare` with its own engine, the loop, as a script whose own processes are forked (commands.py); without a report."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import commands

TIED = """
import runpy, sys
from deltal_openrlhf.parity import forkserver
forkserver.end_with_parent()
module = sys.argv.pop(1)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def tethered(words: Sequence[str], how: object, **arguments: Any) -> subprocess.Popen:
    """In place of runs/tether.py's, whose kernel call takes the server for the parent."""
    python, option, *rest = words
    assert (python, option) == (sys.executable, "-m")
    return commands.Popen([sys.executable, "-c", TIED, *rest], **arguments)


def main() -> int:
    from deltal_openrlhf.cli import compare
    from deltal_openrlhf.comparison import checks, pool, run

    checks.tethered = pool.tethered = tethered
    run.write_report = lambda comparison, out: None
    return compare.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
