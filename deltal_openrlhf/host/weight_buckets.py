"""Weights from the trainer to the rollout engines in buckets, where the two exchange them by gloo.

The host calls each engine once for every tensor, and waits until the engine has loaded it. For a small model those calls are a third of a
step. Here the host still walks over the parameters, gathers each one and offers it; what it offers is collected, and an engine is called
once a bucket. The engine loads the same tensors in the same order.

On GPUs (NCCL, CUDA IPC) nothing is replaced: the buckets were not run there.
"""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import ray
import torch
from openrlhf.trainer.ray import ppo_actor, vllm_engine

from deltal_openrlhf.cpu.weight_sync import GlooGroup, update_weights
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.runs.errors import with_kind

BUCKET_BYTES = 64 * 1024**2
"""A bucket's tensors are in the trainer's memory twice, next to the model: as they were collected and as one flat tensor. Each engine holds
the flat tensor once. A larger tensor is a bucket of its own, of its own size."""

Weight = tuple[str, torch.Tensor]


class BucketedTrainer(ppo_actor.ActorPPOTrainer):
    """The host's trainer, which sends buckets where its process group is gloo's."""

    _model_update_group: Any = None
    """Only rank 0 has one."""

    def broadcast_to_vllm(self) -> None:
        if not isinstance(self._model_update_group, GlooGroup):
            super().broadcast_to_vllm()
            return
        buckets = Buckets(self.vllm_engines, self._model_update_group)
        with (
            buckets.sync(),
            rebound(self, "vllm_engines", buckets.engines),
            rebound(self, "_model_update_group", buckets),
        ):
            super().broadcast_to_vllm()


class Buckets:
    """Stands for the engines and for the process group in the host's broadcast_to_vllm."""

    def __init__(self, engines: Sequence[Any], group: GlooGroup) -> None:
        self._to, self._group = engines, group
        self._waiting: list[Weight] = []
        self._name = ""
        self._done = ray.put(None)  # the host waits for what a call gives it
        offer = SimpleNamespace(remote=self._offer)
        self.engines = [SimpleNamespace(update_weight=offer, reset_prefix_cache=e.reset_prefix_cache) for e in engines]

    def _offer(self, name: str, dtype: torch.dtype, shape: torch.Size, empty_cache: bool) -> "ray.ObjectRef":
        self._name = name
        return self._done

    def broadcast(self, tensor: torch.Tensor, src: int, stream: None) -> None:
        """Collect the tensor that was offered. With ZeRO-3 it is whole during this call only."""
        if sum(waiting.nbytes for _, waiting in self._waiting) + tensor.nbytes > BUCKET_BYTES:
            self.send()
        self._waiting.append((self._name, tensor.clone()))

    @contextmanager
    def sync(self) -> Iterator[None]:
        """Keep all engines from generating until the last bucket is loaded. If one of them fails, none generates again."""
        ray.get([engine.begin_sync.remote() for engine in self._to])
        try:
            yield
            self.send()
        except BaseException as error:
            for engine in self._to:
                engine.end_sync.remote(with_kind(error))  # not waited for: the engine may be gone
            raise
        ray.get([engine.end_sync.remote() for engine in self._to])

    def send(self) -> None:
        """Send what is collected. Raises what an engine raises, which ends the run."""
        for dtype, weights in itertools.groupby(self._waiting, key=lambda weight: weight[1].dtype):
            self._send(dtype, list(weights))
        self._waiting.clear()

    def _send(self, dtype: torch.dtype, weights: list[Weight]) -> None:
        parts = [tensor.flatten() for _, tensor in weights]
        flat = parts[0] if len(parts) == 1 else torch.cat(parts)
        parameters = [(name, tensor.shape) for name, tensor in weights]
        calls = [engine.update_weights.remote(dtype, parameters) for engine in self._to]
        sending = self._group.begin_broadcast(flat, src=0)
        ray.get(calls)  # raises at once where an engine fails, even before it receives
        sending.wait()


class BucketedRolloutActor(vllm_engine.RolloutRayActor.__ray_metadata__.modified_class):
    """The host's engine, which takes buckets. During a sync it starts no generation, and after one that failed it gives no response."""

    _ended: asyncio.Event | None = None
    """The end of the last sync."""
    _failed = ""

    async def begin_sync(self) -> None:
        self._ended = asyncio.Event()

    async def end_sync(self, failed: str = "") -> None:
        """failed: why an engine may have weights of two steps."""
        assert self._ended is not None
        self._failed = failed
        self._ended.set()

    async def update_weights(self, dtype: torch.dtype, parameters: list[tuple[str, Sequence[int]]]) -> None:
        """parameters: name and shape of each part of the bucket, in its order."""
        await self.llm.collective_rpc(update_weights, args=(dtype, parameters))

    async def generate(self, *args: Any, **kwargs: Any) -> Any:
        if self._ended is not None:
            await self._ended.wait()
        self._check()
        response = await super().generate(*args, **kwargs)
        self._check()  # an asynchronous run syncs the weights in the middle of responses
        return response

    def _check(self) -> None:
        if self._failed:
            raise RuntimeError(f"the engine may have weights of two steps, since a weight sync failed: {self._failed}")
