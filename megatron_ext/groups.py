"""One layout after the other in the same processes, for what compares layouts: a run has one."""

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
    """Inside, Megatron-Core can be initialised again. A group of the same kind and ranks as one of an earlier layout is that group.

    Megatron-Core makes twenty groups a layout, and the gradient hooks of its models keep each for ever. An idle gloo group is not free: it
    has three threads, of which one wakes up every 10 ms. After thirty layouts they took more of the cores than the work.
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
