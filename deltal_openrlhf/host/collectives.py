"""Small values that ranks tell one another. Every rank of the group has to call."""

from typing import TypeVar

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
