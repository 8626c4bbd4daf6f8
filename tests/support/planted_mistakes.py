"""Mistakes in the code of an update, made in a rank process."""

import functools
from collections.abc import Callable
from typing import Any


def weights_per_micro_batch() -> None:
    from deltal_openrlhf.host.trainer import DeltaLActorTrainer

    right: Any = DeltaLActorTrainer._set_weights

    def wrong(self: Any, micro_batches: Any) -> None:
        for rows in micro_batches:
            right(self, [rows])
        for weights in self._weights:
            weights /= self.loss_divisor

    DeltaLActorTrainer._set_weights = wrong


def loss_times_2() -> None:
    from deltal_openrlhf.host.strategy import DeltaLStrategy

    right: Any = DeltaLStrategy.backward
    DeltaLStrategy.backward = lambda self, loss, *args, **kwargs: right(self, 2 * loss, *args, **kwargs)


MISTAKES = {mistake.__name__: mistake for mistake in (weights_per_micro_batch, loss_times_2)}


@functools.cache
def _make(name: str) -> None:
    """Once in a process."""
    MISTAKES[name]()


def with_mistake(rank: int, name: str, function: Callable, *arguments: Any) -> Any:
    """What a rank calls in place of `function`."""
    _make(name)
    return function(rank, *arguments)
