"""How the driver tells the controllers of a run to stop, and how these tell the driver that the run is alive.

Both are keys of this job in Ray's key-value store, which every node reaches. The controllers look where they wait for responses and after
each step; a step in progress is left while its responses come, and finished once the update has begun.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from openrlhf.trainer.ppo_utils import samples_generator

from deltal_openrlhf.host.rebind import rebound

_NAMESPACE = "deltal_openrlhf"
_STOP, _ALIVE = "stop", "alive"
LOOK_EVERY, SAY_EVERY = 1.0, 5.0
"""Seconds between two looks at the store, and between two signs of life."""


class StopAsked(Exception):
    """The driver wants the run to stop. Leads out of the host's loops."""


class Stopped(Exception):
    """A run that stopped because it was told to. Its text says what was saved."""


def ask_to_stop(why: str) -> None:
    """In the driver: the controllers shall stop. why: such as SIGTERM."""
    _put(_STOP, why)


def stop_asked() -> str | None:
    """Why the run has to stop, None while it has not."""
    return _get(_STOP)


def sign_of_life() -> str | None:
    """What the controllers said last; each time something else. None before training begins."""
    return _get(_ALIVE)


class Attention:
    """What a controller hears and says while it runs. One for each controller's process."""

    def __init__(self) -> None:
        self._looked = self._said = -float("inf")
        self._asked: str | None = None
        self._count = 0

    def asked(self, *, now: bool = False) -> str | None:
        """Why the run has to stop, None while it has not. Looks at most every LOOK_EVERY seconds, unless it has to know now."""
        moment = time.monotonic()
        if self._asked is None and (now or moment - self._looked >= LOOK_EVERY):
            self._looked, self._asked = moment, stop_asked()
        return self._asked

    def check(self, *, now: bool = False) -> None:
        """Raise StopAsked if the run has to stop."""
        if self.asked(now=now):
            raise StopAsked

    def alive(self, what: str, *, now: bool = False) -> None:
        """Say what was done last. Says it at most every SAY_EVERY seconds, unless it has to be heard now."""
        moment = time.monotonic()
        self._count += 1
        if now or moment - self._said >= SAY_EVERY:
            self._said = moment
            _put(_ALIVE, f"{what} ({self._count})")

    @contextmanager
    def while_waiting(self) -> Iterator[None]:
        """Inside, the host's loop over responses ends with StopAsked, and every response is a sign of life."""
        with rebound(samples_generator, "ray", _AttentiveRay(self)):
            yield


class _AttentiveRay:
    """Stands for the module ray in the host's samples_generator, which waits for responses with ray.wait."""

    def __init__(self, attention: Attention) -> None:
        self._attention = attention

    def __getattr__(self, name: str) -> Any:
        return getattr(ray, name)

    def wait(self, refs: list, *, timeout: float | None = None, **options: Any) -> tuple[list, list]:
        end = time.monotonic() + (float("inf") if timeout is None else timeout)
        while True:
            self._attention.check()
            left = end - time.monotonic()
            ready, pending = ray.wait(refs, timeout=max(0.0, min(left, LOOK_EVERY)), **options)
            if ready:
                self._attention.alive("a response")
            if ready or left <= LOOK_EVERY:
                return ready, pending


class AttentiveQueue:
    """A controller's queue whose get ends with StopAsked. Stands for ray.util.queue.Queue."""

    def __init__(self, queue: Any, attention: Attention) -> None:
        self._queue, self._attention = queue, attention

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def get(self, block: bool = True) -> Any:
        # Not in slices with a timeout: what comes just then would be lost.
        ref = self._queue.actor.get.remote(None)
        while True:
            self._attention.check()
            if ray.wait([ref], timeout=LOOK_EVERY)[0]:
                return ray.get(ref)


def _key(name: str) -> bytes:
    return f"{ray.get_runtime_context().get_job_id()}/{name}".encode()


def _put(name: str, value: str) -> None:
    if ray.is_initialized():
        from ray.experimental import internal_kv

        internal_kv._internal_kv_put(_key(name), value.encode(), namespace=_NAMESPACE)


def _get(name: str) -> str | None:
    """None without Ray too: checks and tests use a controller in one process."""
    if not ray.is_initialized():
        return None
    from ray.experimental import internal_kv

    value = internal_kv._internal_kv_get(_key(name), namespace=_NAMESPACE)
    return None if value is None else value.decode()
