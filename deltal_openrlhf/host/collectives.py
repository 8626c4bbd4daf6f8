"""Small values and errors that ranks tell one another. Every rank of the group has to call."""

import pickle
from collections.abc import Callable
from typing import TypeVar, cast

import torch
import torch.distributed as dist

Value = TypeVar("Value")


def largest(number: int, group: dist.ProcessGroup | None = None) -> int:
    """The largest number of all ranks. group: None for all there are."""
    most = torch.tensor([number], device=torch.cuda.current_device())
    dist.all_reduce(most, op=dist.ReduceOp.MAX, group=group)
    return int(most.item())


def everyones(value: Value, group: dist.ProcessGroup | None = None) -> list[Value]:
    """The values of all ranks, by rank. They are pickled."""
    values: list[Value] = [value] * dist.get_world_size(group)
    dist.all_gather_object(values, value, group=group)
    return values


def on_all_ranks(function: Callable[[], Value]) -> Value:
    """What function returns on this rank. If it raises on any rank, all ranks raise the first error, once all are done.

    For steps on the disk: an error that one rank keeps to itself leaves the others waiting in the next collective. An error in a
    collective of function still leaves them there.
    """
    error: Exception | None = None
    try:
        result = function()
    except Exception as raised:  # noqa: BLE001 - raised below, on all ranks
        error = raised
    for rank, first in enumerate(everyones(None if error is None else _sent(error))):
        if first is not None:
            raise error if error is not None and rank == dist.get_rank() else first  # with its own traceback
    return result


def _sent(error: Exception) -> Exception:
    """What other ranks raise for it: the same, or a RuntimeError with its type and text where it does not survive pickle."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever the class of the error does
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def of_rank_0(function: Callable[[], Value]) -> Value:
    """What function returns on rank 0, the only one that calls it. Its error is raised on all ranks."""
    everywhere = everyones(on_all_ranks(lambda: function() if dist.get_rank() == 0 else None))
    return cast(Value, everywhere[0])
