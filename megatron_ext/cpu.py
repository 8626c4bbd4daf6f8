"""What lets Megatron-Core run without CUDA: names it takes for granted, and stand-ins for Transformer Engine's modules (cpu_modules.py).

Without effect where torch was built for GPUs. deltal_openrlhf/cpu replaces torch.cuda.current_device and the like in every process;
this adds what only Megatron-Core asks for. Checked against megatron-core 0.16.1.
"""

from contextlib import nullcontext

import torch
from torch.overrides import TorchFunctionMode

from deltal_openrlhf import cpu

_mode: TorchFunctionMode | None = None


class CudaMeansCpu(TorchFunctionMode):
    """device="cuda" is the CPU, .cuda() changes nothing, nothing is pinned, and types are named as they would be on a GPU.

    Megatron-Core writes device="cuda" in literals, and sorts gradients into buckets by names like torch.cuda.FloatTensor.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if _is_cuda(kwargs.get("device")):
            kwargs["device"] = torch.device("cpu")
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        if func is torch.Tensor.cuda:
            return args[0]
        if func is torch.Tensor.to and len(args) > 1 and _is_cuda(args[1]):
            args = (args[0], torch.device("cpu"), *args[2:])
        result = func(*args, **kwargs)
        if func is torch.Tensor.type and len(args) == 1 and not kwargs and not result.startswith("torch.cuda."):
            return result.replace("torch.", "torch.cuda.", 1)
        return result


def install() -> None:
    """In this process, until it ends. Call it before Megatron-Core builds anything. Idempotent."""
    global _mode
    if _mode is not None or not cpu.is_needed():
        return
    cpu.install()
    import megatron.core.tensor_parallel.random as megatron_random
    from megatron.core.transformer.moe import moe_utils, token_dispatcher

    # One generator instead of one a device: the tracker of random states and recomputation save and set it.
    torch.cuda.get_rng_state = lambda *args, **kwargs: torch.get_rng_state()
    torch.cuda.manual_seed = torch.manual_seed
    megatron_random._get_cuda_rng_state = lambda *args, **kwargs: torch.get_rng_state()
    megatron_random._set_cuda_rng_state = lambda state, *args, **kwargs: torch.set_rng_state(state)
    # Mixture-of-experts layers copy counts of tokens on a stream of their own.
    torch.cuda.Stream = _Stream
    torch.cuda.current_stream = lambda *args, **kwargs: _Stream()
    torch.cuda.stream = lambda stream: nullcontext()
    torch.Tensor.record_stream = lambda self, stream: None
    moe_utils.te_general_gemm = None  # without Transformer Engine it asks whether this is None, and has no such name
    # It moves numbers of tokens off the GPU, as numpy arrays; here they are tensors already, which all_to_all does not take.
    move = token_dispatcher.maybe_move_tensor_to_cpu
    token_dispatcher.maybe_move_tensor_to_cpu = lambda tensor, as_numpy=False, record_stream=False: (
        tensor.numpy() if as_numpy and torch.is_tensor(tensor) else move(tensor, as_numpy, record_stream)
    )
    _mode = CudaMeansCpu()
    _mode.__enter__()


class _Stream:
    """Everything has happened when a call returns."""

    def wait_stream(self, stream: "_Stream") -> None:
        pass

    def record_event(self) -> "_Stream":
        return self

    def synchronize(self) -> None:
        pass


def _is_cuda(device) -> bool:
    return isinstance(device, str | torch.device) and str(device).startswith("cuda")
