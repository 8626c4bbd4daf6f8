r"""Answers that may take long wait in a lane of their own, and a kind of answer that keeps timing out gets less and less time.

A kind is what makes an answer slow (a power of a power, deep brackets, length), or else its text without its digits and letters.
"""

import re
import threading
from collections import OrderedDict, deque
from typing import Generic, TypeVar

_LONG = 300
_DEEP = 8
_SLOW = (
    ("power", re.compile(r"\^\s*\{?[^{}^]{0,80}(?:\^|\d{4})|\*\*[^*]{0,80}\*\*|\d[eE][-+]?\d{4}")),
    ("digits", re.compile(r"\d{40}")),
    ("factorial", re.compile(r"(?:\d{4}|\))\s*!|!\s*!|\\binom\s*\{[^{}]{0,40}(?:\d{5}|\^)")),
)
_DIGITS, _LETTERS = re.compile(r"\d+"), re.compile(r"[a-zA-Z]")
_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")
REMEMBERED = 1000
"""Kinds that have timed out, of which the latest are known."""
LEAST = 1 / 32
"""Share of the deadline that is left to a kind that always times out."""
_MOST_LOST = 8
"""Time-outs that count: so many answers in time give a kind its whole deadline back."""


def slow_kind(text: str) -> str | None:
    """Why an answer may take long; None where nothing in it says so."""
    if len(text) > _LONG:
        return "long"
    depth = deepest = 0
    for character in text:
        if character in _OPEN:
            depth += 1
            deepest = max(deepest, depth)
        elif character in _CLOSE:
            depth -= 1
    if deepest > _DEEP:
        return "deep"
    return next((name for name, pattern in _SLOW if pattern.search(text)), None)


def kind_of(text: str) -> str:
    """slow_kind, else the text without its digits and letters: answers that differ in these take as long."""
    return slow_kind(text) or _LETTERS.sub("a", _DIGITS.sub("0", text))[:80]


class Deadlines:
    """Seconds that an answer may take, by its kind: half of what it was after each time-out, twice after each answer in time.

    So for the slow lane as a whole, where the answers of all kinds wait for each other. Never less than LEAST of `deadline`. Thread-safe.
    """

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self._lost: OrderedDict[str, int] = OrderedDict()
        self._lane = 0
        self._lock = threading.Lock()

    def of(self, kind: str, slow: bool) -> float:
        lost = max(self._lost.get(kind, 0), self._lane if slow else 0)
        return self.deadline * max(LEAST, 0.5**lost)

    def times_out(self, kind: str) -> bool:
        """Whether the last answers of this kind did."""
        return kind in self._lost

    def saw(self, kind: str, slow: bool, timed_out: bool) -> None:
        change = 1 if timed_out else -1
        with self._lock:
            if slow:
                self._lane = min(max(self._lane + change, 0), _MOST_LOST)
            lost = self._lost.pop(kind, 0) + change
            if lost > 0:
                self._lost[kind] = min(lost, _MOST_LOST)
                if len(self._lost) > REMEMBERED:
                    self._lost.popitem(last=False)


J = TypeVar("J")


class Lanes(Generic[J]):
    """Two queues of jobs. Whoever takes slow ones takes them first; the one worker that does not is there for the others."""

    def __init__(self) -> None:
        self._slow: deque[J] = deque()
        self._others: deque[J] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, job: J, slow: bool) -> None:
        with self._changed:
            (self._slow if slow else self._others).append(job)
            self._changed.notify_all()

    def take(self, slow_too: bool) -> J | None:
        """The next job, as soon as there is one; None when the lanes are closed and empty."""
        with self._changed:
            while True:
                if slow_too and self._slow:
                    return self._slow.popleft()
                if self._others:
                    return self._others.popleft()
                if self._closed:
                    return None
                self._changed.wait()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
