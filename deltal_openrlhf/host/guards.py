"""Reads the gradients that DeepSpeed holds right before an update: computes their norm, and leaves out an update if needed.

The optimizer around Adam depends on stage, dtype and device (deepspeed 0.19.6, runtime/engine.py, _do_optimizer_sanity_check and
_configure_fp16_optimizer). Each keeps its gradients in another place:

    ZeRO   dtype            engine.optimizer                                   gradients
    0      fp32             Adam or SGD itself                                 param.grad
    0      bf16, fp16       FP16_Optimizer with FusedAdam, as on GPUs;         param.grad
                            FP16_UnfusedOptimizer with any other
    1      bf16, accum.     BF16_Optimizer; offloaded DeepSpeedZeroOptimizer   flat fp32 buffers; param.grad is the last micro batch's
           in fp32
    1, 2   all others       DeepSpeedZeroOptimizer                             some are reduced only within step()
    3      all              DeepSpeedZeroOptimizer_Stage3                      one flat buffer; of an offloaded one, norms on the GPU

In bf16 and fp32 most of them silently update with inf or nan. DeepSpeed's own norms do not reveal it, because it replaces a norm that is
not finite by -1.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
import torch.distributed as dist
from deepspeed.runtime import bf16_optimizer
from deepspeed.runtime.bf16_optimizer import BF16_Optimizer
from deepspeed.runtime.fp16.fused_optimizer import FP16_Optimizer
from deepspeed.runtime.fp16.unfused_optimizer import FP16_UnfusedOptimizer
from deepspeed.runtime.zero.stage3 import DeepSpeedZeroOptimizer_Stage3
from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer
from torch import Tensor

from deltal_openrlhf.host.rebind import rebound

_READ: dict[type, tuple[str, ...]] = {
    FP16_Optimizer: (),
    FP16_UnfusedOptimizer: (),
    BF16_Optimizer: ("fp32_groups_gradients_flat",),
    DeepSpeedZeroOptimizer: ("check_grad_overflow", "overflow"),
    DeepSpeedZeroOptimizer_Stage3: ("offload_optimizer", "grad_partitions_flat_buffer"),
}
"""What we read of each."""


def prepare(engine: Any) -> None:
    """Make ZeRO-1/2 check every gradient before an update. By default they do so only in bf16 and fp16.

    Raises RuntimeError for an optimizer whose gradients this module would not find. A subclass may keep them elsewhere.
    """
    optimizer = engine.optimizer
    name = type(optimizer).__name__
    if type(optimizer) not in _READ and optimizer is not engine.basic_optimizer:
        raise RuntimeError(
            f"DeepSpeed made a {name}, in which inf and nan cannot be kept from an update; known are "
            f"{', '.join(known.__name__ for known in _READ)}: take another --ds.zero_stage or --ds.grad_accum_dtype"
        )
    missing = [field for field in _READ.get(type(optimizer), ()) if not hasattr(optimizer, field)]
    if missing:
        raise RuntimeError(f"{name} has no {' and '.join(missing)}: DeepSpeed changed")
    if type(optimizer) is DeepSpeedZeroOptimizer:
        optimizer.check_grad_overflow = True


def checks_itself(engine: Any) -> bool:
    """Whether step() itself leaves out an update that is not finite and sets `overflow`. ZeRO-1/2 and fp16's loss scaling do."""
    return engine.fp16_enabled() or type(engine.optimizer) is DeepSpeedZeroOptimizer


def gradient_norm(engine: Any) -> Tensor:
    """The norm of this rank's gradients, a scalar on its device. inf or nan if one of them is. Each gradient is read once.

    Call it before step(), after the last backward pass of the optimizer step, if checks_itself is false.
    """
    optimizer = engine.optimizer
    if type(optimizer) is BF16_Optimizer:
        parts: Iterable[Tensor] = optimizer.fp32_groups_gradients_flat
    elif type(optimizer) is DeepSpeedZeroOptimizer_Stage3 and optimizer.offload_optimizer:
        # The buffer is in the host's memory. DeepSpeed took the norm of each part while that was on the GPU.
        parts = optimizer.norm_for_param_grads.values()
    elif type(optimizer) is DeepSpeedZeroOptimizer_Stage3:
        parts = [optimizer.grad_partitions_flat_buffer]
    else:
        parts = [p.grad for p in engine.module.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(parts).float().to(engine.device)
    if optimizer is engine.basic_optimizer:
        engine._global_grad_norm = norm  # DeepSpeed takes none here
    return norm


def is_finite_everywhere(norm: Tensor) -> bool:
    """Whether the norm is finite on all ranks, each of which may hold another part of the gradient. Waits for the device once."""
    bad = norm.isfinite().logical_not().int()
    dist.all_reduce(bad, op=dist.ReduceOp.MAX)
    return not bool(bad)


def stepping(engine: Any, *, without_update: bool) -> AbstractContextManager:
    """A context for one step(). without_update: everything happens except the change of weights and momentum."""
    stack = ExitStack()
    if without_update:
        stack.enter_context(rebound(engine.basic_optimizer, "step", lambda *args, **kwargs: None))
    if type(engine.optimizer) is BF16_Optimizer:
        # It asserts a norm above 0; advantages that are all 0 give 0.
        norm = bf16_optimizer.get_global_norm_of_tensors
        smallest = torch.finfo(torch.float32).tiny
        above_zero = lambda *args, **kwargs: norm(*args, **kwargs).clamp(min=smallest)  # noqa: E731
        stack.enter_context(rebound(bf16_optimizer, "get_global_norm_of_tensors", above_zero))
    return stack
