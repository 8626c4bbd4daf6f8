"""Signs of progress: what a process of the run did last. The driver ends a run that makes none for too long (train/stall.py).

the start   a model is loaded, a model is ready for training, an engine is ready
training    a response has come, a model has seen a micro batch, an update or a weight sync is done
a save      a rank has written its part, or the checksums of its part
"""

import time
from typing import Any

from deltal_openrlhf.host import job_store

_LAST = "alive"
SAY_EVERY = 5.0
"""Seconds between two signs of a process."""


class Pulse:
    """Gives the signs of one process, or of a part of it."""

    _said = -float("inf")

    def alive(self, what: str, *, now: bool = False) -> None:
        """Record what was done last, at most every SAY_EVERY seconds, unless it has to be recorded now."""
        moment = time.monotonic()
        if now or moment - self._said >= SAY_EVERY:
            self._said = moment
            job_store.put(_LAST, f"{what}, {time.strftime('%H:%M:%S')}")

    def follow(self, model: Any) -> None:
        """From now on, every forward pass of this torch module is a sign."""
        model.register_forward_hook(lambda *given: self.alive("a micro batch"))


def last_sign() -> str | None:
    """The last thing that was done, and its time in seconds. None before the first sign."""
    return job_store.get(_LAST)
