"""Progress of a stage, with an estimate of the time left: a line that is written over, or in a file one every 5 s."""

import sys
import time
from collections.abc import Sequence
from datetime import timedelta

import numpy as np

LINE = 100
"""Characters, so that a shorter line leaves nothing of the longer one before it."""


class Progress:
    """Of items that take seconds = a + b x cost each, a and b from those done: the estimate of the time left is by both."""

    def __init__(
        self, prefix: str, unit: str, costs: Sequence[float] | None = None, *, total: int = 0, done: int = 0
    ) -> None:
        """costs: of every item, in any unit; None: of `total` items unknown, then there is no estimate. done: items that an earlier run
        did, which say nothing about this one's speed."""
        self._prefix, self._unit = prefix, unit
        self._costs = None if costs is None else np.cumsum([0.0, *costs])  # of the first k items
        self._total = total if costs is None else len(costs)
        self._before = self._last = done
        self._seconds = 0.0
        self._products = np.zeros((2, 2))  # of (items, cost) of the steps between two updates
        self._answers = np.zeros(2)
        self._started = self._shown = time.monotonic()
        self._terminal = sys.stdout.isatty()
        self._every = 0.5 if self._terminal else 5.0

    def update(self, done: int) -> None:
        """Called as often as one likes."""
        now = time.monotonic()
        text = self.text(done, now - self._started)
        last = done == self._total
        if now - self._shown < self._every and not last:
            return
        self._shown = now
        line = f"{self._prefix}: {text}"
        print(
            f"{line:<{LINE}}" if self._terminal else line, end="\r" if self._terminal and not last else "\n", flush=True
        )

    def text(self, done: int, seconds: float) -> str:
        """seconds: that this run took so far."""
        text = f"{done}/{self._total} {self._unit}, {timedelta(seconds=round(seconds))}"
        left = self.seconds_left(done, seconds)
        return text if left is None else f"{text}, about {timedelta(seconds=round(left))} left"

    def seconds_left(self, done: int, seconds: float) -> float | None:
        """None where nothing is left, or nothing is known."""
        if self._costs is None:
            return None
        if done > self._last:
            step = np.array([done - self._last, self._costs[done] - self._costs[self._last]])
            self._products += np.outer(step, step)
            self._answers += step * (seconds - self._seconds)
            self._last, self._seconds = done, seconds
        if done == self._total or done == self._before:
            return None
        rest = np.array([self._total - done, self._costs[-1] - self._costs[done]])
        return float(rest @ self._each())

    def _each(self) -> np.ndarray:
        """(a, b) by least squares, neither below 0; by cost alone where they cannot be told apart."""
        (ii, ic), (_, cc) = self._products
        by_number, by_cost = np.array([self._answers[0] / ii, 0.0]), np.array([0.0, self._answers[1] / cc])
        if ii * cc - ic * ic <= 1e-6 * ii * cc:
            return by_cost
        each = np.linalg.solve(self._products, self._answers)
        return by_number if each[1] < 0 else by_cost if each[0] < 0 else each
