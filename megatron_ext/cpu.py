"""Lets Megatron-Core run without CUDA, by replacing the names that it takes for granted. (plain_modules.py has the modules.)

It has no effect if torch was built for GPUs. deltal_openrlhf/cpu replaces torch.cuda.current_device and others in every process. This
module adds what only Megatron-Core uses.
"""

import functools
import importlib
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from deltal_openrlhf import cpu

CHECKED_AGAINST = "torch 2.13.0, megatron-core 0.16.1"


_CUDA, _TO, _TYPE = torch.Tensor.cuda, torch.Tensor.to, torch.Tensor.type


class CudaMeansCpu(TorchFunctionMode):
    """Makes device="cuda" the CPU. .cuda() changes nothing, nothing is pinned, and types have the names that they would have on a GPU.

    Megatron-Core writes device="cuda" in literals, and sorts gradients into buckets by names like torch.cuda.FloatTensor.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Every operation passes here, half a million in a test: look no longer than needed.
        kwargs = kwargs or {}
        if "device" in kwargs and _is_cuda(kwargs["device"]):
            kwargs = kwargs | {"device": torch.device("cpu")}
        if kwargs.get("pin_memory"):
            kwargs = kwargs | {"pin_memory": False}
        if func is _CUDA:
            return args[0]
        if func is _TO and len(args) > 1 and _is_cuda(args[1]):
            args = (args[0], torch.device("cpu"), *args[2:])
        result = func(*args, **kwargs)
        if func is _TYPE and len(args) == 1 and not kwargs:
            return result.replace("torch.", "torch.cuda.", 1)
        return result


class _Stream:
    """Everything has happened when a call returns."""

    def wait_stream(self, stream: "_Stream") -> None:
        pass

    def record_event(self) -> "_Stream":
        return self

    def synchronize(self) -> None:
        pass


def _move_as_tensors(move: Callable) -> Callable:
    """It moves numbers of tokens off the GPU, as numpy arrays; here they are tensors already, which all_to_all does not take."""
    return lambda tensor, as_numpy=False, record_stream=False: (
        tensor.numpy() if as_numpy and torch.is_tensor(tensor) else move(tensor, as_numpy, record_stream)
    )


# module:name -> what stands there, made of what stood there.
REPLACEMENTS: dict[str, Callable[[Any], Any]] = {
    # One generator instead of one a device: the tracker of random states and recomputation save and set it.
    "torch:cuda.get_rng_state": lambda original: lambda *args, **kwargs: torch.get_rng_state(),
    "torch:cuda.manual_seed": lambda original: torch.manual_seed,
    "megatron.core.tensor_parallel.random:_get_cuda_rng_state": lambda original: (
        lambda *args, **kwargs: torch.get_rng_state()
    ),
    "megatron.core.tensor_parallel.random:_set_cuda_rng_state": lambda original: (
        lambda state, *args, **kwargs: torch.set_rng_state(state)
    ),
    # Mixture-of-experts layers copy counts of tokens on a stream of their own.
    "torch:cuda.Stream": lambda original: _Stream,
    "torch:cuda.current_stream": lambda original: lambda *args, **kwargs: _Stream(),
    "torch:cuda.stream": lambda original: lambda stream: nullcontext(),
    "torch:Tensor.record_stream": lambda original: lambda self, stream: None,
    "megatron.core.transformer.moe.token_dispatcher:maybe_move_tensor_to_cpu": _move_as_tensors,
}

_mode: TorchFunctionMode | None = None


def install() -> None:
    """In this process, and for device="cuda" in this thread, until it ends. Call it before Megatron-Core builds anything. Idempotent.

    Raises ImportError, before anything is replaced, if a name is gone.
    """
    global _mode
    if _mode is not None or not cpu.is_needed():
        return
    cpu.install()
    found = [(*_find(target), make) for target, make in REPLACEMENTS.items()]
    for owner, name, make in found:
        setattr(owner, name, make(getattr(owner, name)))
    _mode = CudaMeansCpu()
    _mode.__enter__()


def _find(target: str) -> tuple[Any, str]:
    """What holds the name, and the name in it."""
    module_name, _, path = target.partition(":")
    *owners, name = path.split(".")
    try:
        owner = functools.reduce(getattr, owners, importlib.import_module(module_name))
        getattr(owner, name)
    except (ImportError, AttributeError):
        from megatron.core import __version__

        raise ImportError(
            f"there is no {module_name}.{path} in torch {torch.__version__}, megatron-core {__version__}; without a GPU it is replaced, "
            f"as checked against {CHECKED_AGAINST}"
        ) from None
    return owner, name


def _is_cuda(device: Any) -> bool:
    return isinstance(device, str | torch.device) and str(device).startswith("cuda")
