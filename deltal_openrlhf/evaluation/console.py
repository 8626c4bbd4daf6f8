"""The console of an evaluation: vLLM's output goes to a file, what remains is a line of progress."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TextIO

LINE = 90
"""Characters, so that a shorter line leaves nothing of the longer one before it."""


@contextmanager
def output_to(path: Path) -> Iterator[TextIO]:
    """Send this process's stdout and stderr, and those of processes it starts, to the end of `path`. Yields what stderr was."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.close(log)
    console = os.fdopen(os.dup(saved[1]), "w", buffering=1, errors="replace")
    try:
        yield console
    finally:
        if console.isatty():
            console.write("\n")  # after the line of progress
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, original in zip((1, 2), saved, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
        console.close()


class Progress:
    """Responses done, time taken and an estimate of the time left: one line that is written over, or in a file one every 15 s."""

    ESTIMATE_AFTER = 0.05
    """Share of the work after which the rate says something: short responses finish first, and all start at once."""

    def __init__(self, console: TextIO, prefix: str, done: int, total: int) -> None:
        self._console, self._prefix = console, prefix
        self._before, self._total = done, total
        self._started = self._shown = time.monotonic()
        self._complete = False
        self._every = 0.5 if console.isatty() else 15.0

    def update(self, done: int) -> None:
        """Called as often as one likes."""
        now = time.monotonic()
        complete = done == self._total
        if self._complete or (now - self._shown < self._every and not complete):
            return
        self._shown, self._complete = now, complete
        line = f"{self._prefix}: {self.text(done, now - self._started)}"
        self._console.write(f"{line:<{LINE}}\r" if self._console.isatty() else line + "\n")
        self._console.flush()

    def text(self, done: int, seconds: float) -> str:
        new, work = done - self._before, self._total - self._before
        text = f"{done}/{self._total} responses, {timedelta(seconds=round(seconds))}"
        if done < self._total and new >= max(1, self.ESTIMATE_AFTER * work):
            left = seconds / new * (self._total - done)
            text += f", about {timedelta(seconds=round(left))} left"
        return text
