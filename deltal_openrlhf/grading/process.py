"""The owner's end of a grading process (worker.py): starts it, asks it, and ends it when it is late."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_START_LIMIT = 60.0
"""Seconds a worker may take to import its libraries."""
_GRACE = 0.5
"""A worker ends its child at the deadline; this much later the worker itself is ended."""
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])


class Scorer(NamedTuple):
    """module: what a worker grades with, by its full name (worker.py). needs: what it imports, and how to install it, for messages."""

    module: str
    needs: str


MATH = Scorer("deltal_openrlhf.grading.comparison", "math-verify: pip install 'deltal-openrlhf[rewards]'")


class Worker:
    """A process of grading/worker.py with the child that it forks, in a session of its own."""

    def __init__(self, memory_mb: int, scorer: Scorer = MATH) -> None:
        self.number = 0
        # A clean environment: no accelerator, no proxy and no credentials within reach of a parser.
        environment = {k: v for k, v in os.environ.items() if k in ("PATH", "LD_LIBRARY_PATH", "LANG", "HOME")}
        environment["OPENBLAS_NUM_THREADS"] = (
            "1"  # its threads would not survive the fork, and each takes address space
        )
        environment["PYTHONPATH"] = os.pathsep.join([_PACKAGE_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deltal_openrlhf.grading.worker", str(memory_mb), scorer.module],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, bufsize=0,
            start_new_session=True,
        )  # fmt: skip
        if self._line(time.monotonic() + _START_LIMIT) != "ready":
            self.end()
            raise RuntimeError(
                f"a grading worker did not start (exit code {self.process.returncode}); it needs {scorer.needs}"
            )

    def grade(self, golds: Sequence[str], pred: str, deadline: float) -> str | None:
        """A status, and a mark behind it if the scorer gives one, by the deadline and a moment later at most; None where the process ended
        before it had taken the answer. The process is gone where it did not answer."""
        self.number += 1
        started = time.monotonic()
        request = {"id": self.number, "golds": golds, "pred": pred, "deadline": deadline}
        taken = False
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(request).encode() + b"\n")  # type: ignore[union-attr]
            while line := self._line(started + deadline + _GRACE):
                number, _, status = line.partition(" ")
                if int(number) == self.number and status != "taken":
                    return status
                taken |= int(number) == self.number
        self.end()
        if time.monotonic() - started >= deadline:
            return "timeout"
        return "worker_died" if taken else None

    def _line(self, until: float) -> str | None:
        """The next line of the process; None when it ended or did not say one until then."""
        poll = select.poll()  # select() takes no descriptor above 1023
        poll.register(self.process.stdout, select.POLLIN)  # type: ignore[arg-type]
        ready = poll.poll(max(0.0, until - time.monotonic()) * 1000)
        return self.process.stdout.readline().decode().strip() or None if ready else None  # type: ignore[union-attr]

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()  # type: ignore[union-attr]
