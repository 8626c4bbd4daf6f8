"""Exchanges small values and errors between ranks. Every rank of the group has to call these functions."""

import pickle
from collections.abc import Callable
from typing import TypeVar, cast

import torch
import torch.distributed as dist

Value = TypeVar("Value")


def largest(number: int, group: dist.ProcessGroup | None = None) -> int:
    """The largest number over all ranks. group: None for all ranks."""
    most = torch.tensor([number], device=torch.cuda.current_device())
    dist.all_reduce(most, op=dist.ReduceOp.MAX, group=group)
    return int(most.item())


def everyones(value: Value, group: dist.ProcessGroup | None = None) -> list[Value]:
    """The values of all ranks, in the order of the ranks. They are pickled."""
    values: list[Value] = [value] * dist.get_world_size(group)
    dist.all_gather_object(values, value, group=group)
    return values


def on_all_ranks(function: Callable[[], Value]) -> Value:
    """Call the function on every rank and return its result. If it raises on any rank, all ranks raise the first error, once all are done.

    This is for steps on the disk: an error that one rank keeps to itself leaves the others waiting in the next collective. An error inside
    a collective of the function still does.
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
    """The error that other ranks raise: the same one, or a RuntimeError with its type and text if pickle cannot carry it."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever the class of the error does
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def of_rank_0(function: Callable[[], Value]) -> Value:
    """Call the function on rank 0 only and return its result on all ranks. Its error is raised on all ranks."""
    everywhere = everyones(on_all_ranks(lambda: function() if dist.get_rank() == 0 else None))
    return cast(Value, everywhere[0])
