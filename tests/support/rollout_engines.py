"""Rollout engines without vLLM and Ray: their halves of a weight sync run in threads of this process, over a real gloo group."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch

from deltal_openrlhf.cpu import weight_sync
from deltal_openrlhf.host import weight_buckets
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.runs.ports import hold_port


@dataclass
class Received:
    """What an engine was told."""

    calls: list[int] = field(default_factory=list)
    """The number of tensors in each call."""
    loaded: list[tuple[str, torch.Tensor]] = field(default_factory=list)
    """Everything that the model was given."""
    resets: int = 0
    """Of the prefix cache."""
    syncs: list[str] = field(default_factory=list)
    """"begin", and what each end was told: "" if nothing failed."""


class Engine:
    """broken_by: the name of a tensor that its model does not take."""

    def __init__(self, port: int, rank: int, world: int, broken_by: str = "") -> None:
        self.received = Received()
        self._broken_by = broken_by
        self._thread = ThreadPoolExecutor(1)
        self._group = self._thread.submit(weight_sync.GlooGroup, "127.0.0.1", port, rank, world)
        self.update_weight = self._method(weight_sync.update_weight)
        self.update_weights = self._method(weight_sync.update_weights)
        self.reset_prefix_cache = SimpleNamespace(remote=self._reset)
        self.begin_sync = SimpleNamespace(remote=lambda: self._told("begin"))
        self.end_sync = SimpleNamespace(remote=lambda failed="": self._told(failed))

    def _method(self, function: Any) -> SimpleNamespace:
        return SimpleNamespace(
            remote=lambda *given, **named: self._thread.submit(function, self._worker, *map(sent, given), **named)
        )

    def _reset(self) -> Future:
        self.received.resets += 1
        return done()

    def _told(self, word: str) -> Future:
        self.received.syncs.append(word)
        return done()

    @property
    def _worker(self) -> SimpleNamespace:
        model = SimpleNamespace(load_weights=self._load, modules=lambda: [])
        config = SimpleNamespace(dtype=torch.bfloat16)
        runner = SimpleNamespace(model=model)
        return SimpleNamespace(_model_update_group=self._group.result(), model_config=config, model_runner=runner)

    def _load(self, weights: Sequence[tuple[str, torch.Tensor]]) -> None:
        self.received.calls.append(len(weights))
        for name, tensor in weights:
            if name == self._broken_by:
                raise ValueError(f"there is no parameter named {name}")
            self.received.loaded.append((name, tensor.clone()))


def sent(value: Any) -> Any:
    """What vLLM's process gets: its messages have lists in place of tuples, and of the shapes of tensors."""
    return [sent(item) for item in value] if isinstance(value, (list, tuple)) else value


def done(value: Any = None) -> Future:
    future: Future = Future()
    future.set_result(value)
    return future


@contextmanager
def engines(number: int, broken_by: str = "") -> Iterator[tuple[list[Engine], weight_sync.GlooGroup]]:
    """So many engines and the trainer's side of their group. Inside, a reference of Ray's is a future. broken_by: of the last engine."""
    from openrlhf.trainer.ray import ppo_actor

    held = hold_port("127.0.0.1")
    port = held.getsockname()[1]
    made = [Engine(port, rank, number + 1, broken_by if rank == number else "") for rank in range(1, number + 1)]
    group = weight_sync.GlooGroup("127.0.0.1", port, 0, number + 1)
    ray = SimpleNamespace(put=done, get=lambda refs: [ref.result(timeout=20) for ref in refs])
    with ExitStack() as stack:
        for module in (ppo_actor, weight_buckets):
            stack.enter_context(rebound(module, "ray", ray))
        yield made, group
