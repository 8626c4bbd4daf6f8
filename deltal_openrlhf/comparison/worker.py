"""Runs one job after the other: `python -m deltal_openrlhf.comparison.worker MODULE:FUNCTION`. pool.py starts it.

A line on stdin is a job, {"flags": ..., "folder": ...}. FUNCTION(flags, folder) trains and returns {"steps": n, ...}. A line on stdout is
its outcome, {"seconds", "cpu_seconds", "steps"} or {"seconds", "cpu_seconds", "crashed": reason}. The output of a job goes to its
console.txt. With --in_process the host is imported here, so the CPU layer has to be installed first.
"""

import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deltal_openrlhf import cpu
from deltal_openrlhf.comparison.state import CONSOLE
from deltal_openrlhf.host.process import prepare
from deltal_openrlhf.runs.console import send_output_to
from deltal_openrlhf.runs.errors import with_kind

LONGEST_REASON = 500

Train = Callable[[dict[str, Any], Path], dict[str, Any]]
"""An engine: (flags, folder) -> {"steps"}."""


def main(argv: list[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    target, in_process = argv[0], "--in_process" in argv
    function = None
    for line in sys.stdin:
        job = json.loads(line)
        folder = Path(job["folder"])
        send_output_to(folder / CONSOLE)
        if function is None:
            function = _load(target, in_process)
        answers.write(json.dumps(_run(function, job["flags"], folder)) + "\n")


def _load(target: str, in_process: bool) -> Train:
    """Load the engine. Raises any error of its import, because then no job could run here."""
    if in_process:
        cpu.set_environment()
        prepare()
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def _run(function: Train, flags: dict[str, Any], folder: Path) -> dict[str, Any]:
    begun, begun_cpu = time.monotonic(), time.process_time()
    try:
        outcome = function(flags, folder)
    except BaseException as error:  # noqa: BLE001 - a job's failure is its outcome, whatever it raised
        traceback.print_exc()
        outcome = {"crashed": with_kind(error)[:LONGEST_REASON]}
    # An engine that trains in other processes says itself what they took.
    return {"seconds": time.monotonic() - begun, "cpu_seconds": time.process_time() - begun_cpu, **outcome}


if __name__ == "__main__":
    main(sys.argv[1:])
