"""The progress of a long command: items done, the time taken and the time left.

    with Progress("deltal eval", "responses", total=1000, done=400) as progress:
        progress.update(405)

    deltal eval: 500/1000 responses, 0:01:00, about 0:05:00 left

On a terminal this is one line with a bar, kept up to date by rich. In a file or a pipe it is a plain line every EVERY seconds.
"""

import math
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from itertools import accumulate
from types import TracebackType
from typing import TextIO

EVERY = 5.0
"""Seconds between two lines where there is no terminal."""
ESTIMATE_AFTER = 0.05
"""Share of the work after which its rate says something. Of items in parallel, the short ones finish first."""

SMOOTHING = 30.0, 0.05
"""Seconds, and share of the time taken, over which what is said of the time left follows a new estimate; the larger one counts."""


def duration(seconds: float) -> str:
    """H:MM:SS."""
    return str(timedelta(seconds=round(seconds)))


def time_left(seconds: float | None) -> str:
    """ ", about 0:05:00 left", the end of a line; empty for None and for 0."""
    return f", about {duration(seconds)} left" if seconds else ""


class Progress:
    """A context manager; `update` may be called as often as is convenient."""

    def __init__(
        self,
        label: str,
        unit: str,
        total: int = 0,
        *,
        done: int = 0,
        costs: Sequence[float] | None = None,
        estimate: bool = True,
        after: float = 0.0,
        stream: TextIO | None = None,
    ) -> None:
        """Start the clock.

        Args:
            label: the beginning of the line.
            unit: what is counted: "responses".
            total: how many there are; 0 where nobody knows. update may say it later.
            done: how many of them an earlier run did; they say nothing about the speed of this one.
            costs: of each item, to which its time is proportional, in any unit; None where all cost the same.
            estimate: whether the time left is said.
            after: seconds; of what takes less, nothing is said.
            stream: where the lines go, sys.stderr by default.
        """
        self._label, self._unit, self._total = label, unit, total
        self._costs = [0.0, *accumulate(costs)] if costs is not None else None
        self._before = self._done = done
        self._work: tuple[float, float] | None = None
        self._said: tuple[float, float] | None = None  # the time, and what was left then
        self._estimate, self._after = estimate, after
        self._stream = stream or sys.stderr
        self._started = self._shown = time.monotonic()
        self._complete = False
        self._terminal = self._stream.isatty()
        self._live: AbstractContextManager = nullcontext()

    def __enter__(self) -> "Progress":
        if not self._after:
            self._draw()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def update(self, done: int, total: int | None = None, work: tuple[float, float] | None = None) -> None:
        """Say how many items are done, the earlier run's included.

        work: what this run has done and what is left, in any unit to which time is proportional. It counts parts of items, so that it says
        more than their number.
        """
        self._done, self._total, self._work = done, self._total if total is None else total, work
        now = time.monotonic()
        if self._complete or now - self._started < self._after:
            return
        if self._terminal:
            self._draw()
            return
        self._complete = done == self._total
        if self._complete or now - self._shown >= EVERY:
            self._shown = now
            print(self._line(), file=self._stream, flush=True)

    def text(self, done: int, seconds: float) -> str:
        """The line without its label. seconds: that this run took so far."""
        return self._text(done, seconds, self.seconds_left(done, seconds))

    def _text(self, done: int, seconds: float, left: float | None) -> str:
        count = f"{done}/{self._total}" if self._total else str(done)
        return f"{count} {self._unit}, {duration(seconds)}{time_left(left)}"

    def seconds_left(self, done: int, seconds: float) -> float | None:
        """What is left takes so long at the rate so far; None where the rate is not known, or where nothing is left."""
        all_of_it, made = (self._cost(until) - self._cost(self._before) for until in (self._total, done))
        left = all_of_it - made
        if self._work is not None:
            made, left = self._work
        if not self._estimate or done >= self._total or made <= 0 or made < ESTIMATE_AFTER * (made + left):
            return None
        return seconds / made * left

    def _smoothed(self, now: float) -> float | None:
        """The time left that is said: it runs down like a clock, and moves to the estimate step by step."""
        left = self.seconds_left(self._done, now - self._started)
        if left is not None and self._said is not None:
            before, said = self._said
            clock = max(0.0, said - (now - before))
            seconds, share = SMOOTHING
            pace = max(seconds, share * (now - self._started))
            left = clock + (1 - math.exp(-(now - before) / pace)) * (left - clock)
        self._said = None if left is None else (now, left)
        return left

    def _cost(self, items: int) -> float:
        return float(items) if self._costs is None else self._costs[items]

    def _line(self) -> str:
        now = time.monotonic()
        return f"{self._label}: {self._text(self._done, now - self._started, self._smoothed(now))}"

    def _draw(self) -> None:
        """Begin the line of a terminal, which draws itself from there on."""
        if self._terminal and isinstance(self._live, nullcontext):
            self._live = self._on_terminal()
            self._live.__enter__()

    def _on_terminal(self) -> AbstractContextManager:
        """The line and its bar, drawn over and over. What the process prints on the same terminal appears above them."""
        from rich.console import Console  # slow to import
        from rich.live import Live
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        def line_and_bar() -> Table:
            line, grid = self._line(), Table.grid(padding=(0, 1))
            cells: list[Text | ProgressBar] = [Text(line, no_wrap=True)]
            room = min(30, console.width - len(line) - 1)
            if room >= 10:  # the time left says more than the bar
                total, done = self._cost(self._total) or None, self._cost(self._done)
                cells.append(ProgressBar(total=total, completed=done, width=room))
            grid.add_row(*cells)
            return grid

        console = Console(file=self._stream)
        ours = self._stream in (sys.stdout, sys.stderr)
        return Live(
            get_renderable=line_and_bar,
            console=console,
            redirect_stdout=ours and sys.stdout.isatty(),  # what goes to a file stays there
            redirect_stderr=ours and sys.stderr.isatty(),
        )
