"""The owner's end of a grading process (worker.py): starts it, asks it, and ends it when it is late.

Nothing that the process says, or does not say to its end, keeps the owner waiting for longer than the deadline and a moment.
"""

import functools
import json
import logging
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_START_LIMIT = 60.0
"""Seconds a worker may take to import its libraries."""
_GRACE = 0.5
"""A worker ends its child at the deadline; this much later the worker itself is ended."""
_MOST_BYTES = 1 << 16
"""Of one look at what a process says, and of a line without its end. Its lines have about 30."""
_LINE = re.compile(r"([0-9]{1,18}) ([a-z_]+(?: [^ ]+)?)")
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])


_logger = logging.getLogger(__name__)


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
        self._unfinished = b""
        for pipe in (self.process.stdin, self.process.stdout):
            os.set_blocking(pipe.fileno(), False)  # type: ignore[union-attr]
        said = next(self._lines(time.monotonic() + _START_LIMIT), None)
        if said == "ready unconfined":
            _say_unconfined()
        elif said != "ready":
            self.end()
            raise RuntimeError(
                f"a grading worker did not start (exit code {self.process.returncode}); it needs {scorer.needs}"
            )

    def grade(self, golds: Sequence[str], pred: str, deadline: float) -> str | None:
        """A status, and a mark behind it if the scorer gives one, by the deadline and a moment later at most; None where the process ended
        before it had taken the answer. The process is gone where it did not answer, or said anything else ("worker_died")."""
        self.number += 1
        started = time.monotonic()
        request = {"id": self.number, "golds": golds, "pred": pred, "deadline": deadline}
        taken = False
        with suppress(BrokenPipeError):
            until = started + deadline + _GRACE
            self._ask(json.dumps(request).encode() + b"\n", until)
            for line in self._lines(until):
                found = _LINE.fullmatch(line)
                if found is None:
                    self.end()
                    return "worker_died"
                if int(found[1]) == self.number and found[2] != "taken":
                    return found[2]
                taken |= int(found[1]) == self.number
        self.end()
        if time.monotonic() - started >= deadline:
            return "timeout"
        return "worker_died" if taken else None

    def _ask(self, request: bytes, until: float) -> None:
        """Write a request; a part of it to a process that does not read the rest until then."""
        pipe = self.process.stdin.fileno()  # type: ignore[union-attr]
        poll = select.poll()
        poll.register(pipe, select.POLLOUT)
        while request and poll.poll(max(0.0, until - time.monotonic()) * 1000):
            request = request[os.write(pipe, request) :]

    def _lines(self, until: float) -> Iterator[str]:
        """What the process says, line by line, until then or its end. What it has said by then is read once more, and no further."""
        output = self.process.stdout.fileno()  # type: ignore[union-attr]
        poll = select.poll()  # select() takes no descriptor above 1023
        poll.register(output, select.POLLIN)
        late = False
        while not late and len(self._unfinished) < _MOST_BYTES:
            left = until - time.monotonic()
            late = left <= 0
            chunk = os.read(output, _MOST_BYTES) if poll.poll(max(0.0, left) * 1000) else b""
            if not chunk:
                return
            *lines, self._unfinished = (self._unfinished + chunk).split(b"\n")
            for line in lines:
                yield line.decode("ascii", "replace")

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()  # type: ignore[union-attr]


@functools.lru_cache(maxsize=1)
def _say_unconfined() -> None:
    """Once in a process."""
    _logger.warning("the kernel does not confine the grading processes here; their deadline and memory limit remain")
