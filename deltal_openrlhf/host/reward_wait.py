"""Bounds the time of a user's reward function.

The function runs in a thread, which cannot be ended. The run can be ended, with the reason. A function may also hold Python's lock, for
example in a regular expression or a power of a power. Then the event loop cannot notice it, and a thread without the lock ends the process.
"""

import asyncio
import faulthandler
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

_Result = TypeVar("_Result")
_began: ContextVar[list[float]] = ContextVar("began")
BEAT, MARGIN = 1.0, 5.0
"""Seconds between two signs of life of the event loop, and how much longer than a call it may stand still."""


def in_thread(function: Callable[..., _Result]) -> Callable[..., _Result]:
    """The function, wrapped for asyncio.to_thread: it records when it begins, and sys.exit in it is an error like others."""

    def call(*args: Any, **kwargs: Any) -> _Result:
        _began.get().append(time.monotonic())
        try:
            return function(*args, **kwargs)
        except SystemExit as stop:
            # It would end the event loop, and with it every response that is being sampled, without a word.
            raise RuntimeError(f"it called sys.exit({stop.code!r})") from stop

    return call


class RewardWait:
    """The bound for one process and one event loop. seconds: the time of a call once it has begun. Waiting for a free thread does not
    count.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._calls = 0

    async def result(self, call: Callable[[], Awaitable[_Result]]) -> _Result:
        """The result of call(), which runs a function made by in_thread. Raises TimeoutError with the reason."""
        began: list[float] = []
        _began.set(began)
        task = asyncio.ensure_future(call())
        left = self._seconds
        with self._watched_loop():
            while left > 0:
                if (await asyncio.wait({task}, timeout=left))[0]:
                    return task.result()
                left = began[0] + self._seconds - time.monotonic() if began else self._seconds
        task.cancel()
        raise TimeoutError(f"it did not return within {self._seconds:g} s (--deltal.reward_wait)")

    @contextmanager
    def _watched_loop(self) -> Iterator[None]:
        """Inside, the process ends, with its stacks on stderr, if its event loop stands still for longer than a call may take."""
        self._calls += 1
        if self._calls == 1:
            self._beat()
        try:
            yield
        finally:
            self._calls -= 1
            if not self._calls:
                self._next.cancel()
                faulthandler.cancel_dump_traceback_later()

    def _beat(self) -> None:
        faulthandler.dump_traceback_later(self._seconds + MARGIN, exit=True, file=2)
        self._next = asyncio.get_running_loop().call_later(BEAT, self._beat)
