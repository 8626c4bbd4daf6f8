"""`deltal train` with many command lines, one after the other in one process; none of them starts Ray."""

import json
import sys
from pathlib import Path

from support import commands

ROOT = Path(__file__).parents[2]
CODE = """
import contextlib, io, json, os, sys
sys.path[:0] = [sys.argv[1]]
import ray
{before}
from deltal_openrlhf.train import launch

for case in json.loads(sys.stdin.read()):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            launch.main(case)
            code = "returned"
        except SystemExit as stop:
            code = stop.code
    assert not ray.is_initialized()
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


def launch_all(runs: dict[str, list[str]], folder: Path, before: str = "") -> dict[str, tuple]:
    """name -> (exit status, stdout, stderr) of every run. folder: where they run. before: code that the process runs first."""
    process = commands.run(
        [sys.executable, "-c", CODE.replace("{before}", before), str(ROOT)],
        input=json.dumps(list(runs.values())),
        capture_output=True,
        text=True,
        timeout=110,
        cwd=folder,
    )
    assert process.returncode == 0, process.stderr
    results = [json.loads(line) for line in process.stdout.splitlines() if line.startswith("[")]
    return dict(zip(runs, map(tuple, results), strict=True))


def lines(text: str) -> list[str]:
    """With single spaces: columns are not what a test is about."""
    return [" ".join(line.split()) for line in text.splitlines()]
