"""Lets the driver tell the controllers of a run to stop. Controllers look into the job's store while they wait for responses and after each
step.

A step is abandoned while its responses come, and finished once its update has begun.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from openrlhf.trainer.ppo_utils import samples_generator

from deltal_openrlhf.host import job_store
from deltal_openrlhf.host.alive import Pulse
from deltal_openrlhf.host.rebind import rebound

_STOP, _NO_SAVE = "stop", "no save"
LOOK_EVERY = 1.0
"""Seconds between two looks at the store."""


class StopAsked(Exception):
    """The driver wants the run to stop. This exception leaves the host's loops."""


class Stopped(Exception):
    """A run stopped because it was told to. The text says what was saved, or why nothing was."""


def ask_to_stop(why: str, no_save: str | None = None) -> None:
    """Tell the controllers to stop. Called in the driver.

    why: such as SIGTERM. no_save: why they must not save, None if they may.
    """
    if no_save is not None:
        job_store.put(_NO_SAVE, no_save)
    job_store.put(_STOP, why)


def stop_asked() -> str | None:
    """Why the run has to stop. None if it need not."""
    return job_store.get(_STOP)


def save_forbidden() -> str | None:
    """Why a run that has to stop must not save. None if it may."""
    return job_store.get(_NO_SAVE)


class Attention(Pulse):
    """What a controller's process reads and reports while it runs. There is one for each process."""

    def __init__(self) -> None:
        self._looked = -float("inf")
        self._asked: str | None = None

    def asked(self, *, now: bool = False) -> str | None:
        """Why the run has to stop. None if it need not. Looks at most every LOOK_EVERY seconds, unless it has to know now."""
        moment = time.monotonic()
        if self._asked is None and (now or moment - self._looked >= LOOK_EVERY):
            self._looked, self._asked = moment, stop_asked()
        return self._asked

    def check(self, *, now: bool = False) -> None:
        """Raise StopAsked if the run has to stop."""
        if self.asked(now=now):
            raise StopAsked

    @contextmanager
    def while_waiting(self) -> Iterator[None]:
        """Inside this context, the host's loop over responses ends with StopAsked, and every response is a sign of progress."""
        with rebound(samples_generator, "ray", _AttentiveRay(self)):
            yield


class _AttentiveRay:
    """Replaces the module ray in the host's samples_generator, which waits for responses with ray.wait."""

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
    """A controller's queue whose get ends with StopAsked. It replaces ray.util.queue.Queue."""

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
