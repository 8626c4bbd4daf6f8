"""Lets the same processes take one layout after the other, for comparisons of layouts. A run has only one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist
from megatron.core import parallel_state
from torch.distributed import device_mesh

from deltal_openrlhf.host.rebind import rebound

_groups: dict[tuple, Any] = {}
_new_group = dist.new_group


@contextmanager
def another_layout() -> Iterator[None]:
    """Inside this context, Megatron-Core can be initialised again. A group of the same kind and ranks as an earlier one is reused.

    Megatron-Core makes twenty groups per layout, and the gradient hooks of its models keep each forever. An idle gloo group is not free: it
    has three threads, and one of them wakes up every 10 ms. After thirty layouts they took more of the cores than the work.
    """
    with rebound(dist, "destroy_process_group", lambda group: None):
        parallel_state.destroy_model_parallel()
    with rebound(dist, "new_group", _group), rebound(device_mesh, "new_group", _group):
        yield


def _group(ranks: Sequence[int], *, group_desc: str | None = None, backend: str | None = None, **how: Any) -> Any:
    kind = group_desc if len(ranks) > 1 else None  # a rank alone says nothing to anybody
    key = dist.group.WORLD, tuple(ranks), kind, backend
    if key not in _groups:
        _groups[key] = _new_group(ranks, group_desc=group_desc, backend=backend, **how)
    return _groups[key]
