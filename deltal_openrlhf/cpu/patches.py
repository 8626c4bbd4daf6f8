"""Every name of the host that the CPU layer replaces, and why. Nothing else is touched; no file is edited.

Checked against the versions in standins/patch.py. Each patch acts when its module is imported; if a name is gone, that import
fails and says which.
"""

import functools
import os
import warnings
from collections.abc import Callable
from typing import Any

import torch

from deltal_openrlhf.cpu import weight_sync
from deltal_openrlhf.standins import flash_attn
from deltal_openrlhf.standins.on_import import on_import
from deltal_openrlhf.standins.patch import Patch

KV_CACHE_BYTES = 256 * 1024**2
"""Enough for models that a CPU can train; more by VLLM_CPU_KVCACHE_SPACE (GiB)."""


def _instead(value: Any) -> Callable[[Any, Any], Any]:
    return lambda original, owner: value


def _do_nothing(original: Callable, owner: Any) -> Callable:
    # A function of its own for each name: torch's tracing tables allow no function twice.
    return lambda *args, **kwargs: None


def _replay_buffer_init(original: Callable, owner: Any) -> Callable:
    """It formats current_device() into "cuda:{...}", so it has to be a number there."""

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        current_device = torch.cuda.current_device
        torch.cuda.current_device = lambda: 0
        try:
            original(self, *args, **kwargs)
        finally:
            torch.cuda.current_device = current_device
        self.target_device = torch.device("cpu")

    return __init__


def _cpu_mesh(original: Callable, owner: Any) -> Callable:
    return functools.wraps(original)(lambda device_type, *args, **kwargs: original("cpu", *args, **kwargs))


def _cpu_moving_average(original: Callable, owner: Any) -> Callable:
    @functools.wraps(original)
    def moving_average(self: Any, model: Any, model_ema: Any, beta: float = 0.992, device: str = "cpu") -> None:
        original(self, model, model_ema, beta, "cpu")

    return moving_average


def _torch_adam(original: Callable, owner: Any) -> Callable:
    @functools.wraps(original)
    def get_train_ds_config(*args: Any, **kwargs: Any) -> dict[str, Any]:
        config = original(*args, **kwargs)
        if "optimizer" in config:
            config["optimizer"]["params"]["torch_adam"] = True
        return config

    return get_train_ds_config


def _gathered_one_by_one(original: Callable, owner: Any) -> Callable:
    def _allgather_params_coalesced(self: Any, param_list: list, hierarchy: int = 0, quantize: bool = False) -> None:
        for parameter in param_list:
            original(self, [parameter], hierarchy, quantize)

    return _allgather_params_coalesced


def _small_kv_cache(original: Callable, owner: Any) -> staticmethod:
    """VLLM_CPU_KVCACHE_SPACE counts in whole GiB, all of it touched at start."""

    def check_and_update_config(vllm_config: Any) -> None:
        original(vllm_config)
        if not os.environ.get("VLLM_CPU_KVCACHE_SPACE"):
            vllm_config.cache_config.kv_cache_memory_bytes = KV_CACHE_BYTES

    return staticmethod(check_and_update_config)


REPLAY_BUFFER = "openrlhf.trainer.ppo_utils.replay_buffer"
DEEPSPEED = "openrlhf.utils.deepspeed.deepspeed"
PATCHES = (
    Patch("torch", "cuda.current_device", "the host moves batches there", _instead(lambda: torch.device("cpu"))),
    Patch("torch", "cuda.set_device", "called with the local rank; raises without CUDA", _do_nothing),
    Patch("torch", "cuda.synchronize", "called after barriers; raises without CUDA", _do_nothing),
    Patch("torch", "cuda.current_stream", "passed to the weight sync; raises without CUDA", _do_nothing),
    Patch(REPLAY_BUFFER, "NaiveReplayBuffer.__init__", "target_device is cuda:N", _replay_buffer_init),
    Patch(DEEPSPEED, "init_device_mesh", "the mesh's device type is cuda", _cpu_mesh),
    Patch(DEEPSPEED, "DeepspeedStrategy.moving_average", "the EMA is computed on device cuda", _cpu_moving_average),
    Patch(
        DEEPSPEED,
        "get_train_ds_config",
        "DeepSpeed's Adam is compiled at first use; a build that was killed leaves a lock that every later run waits for",
        _torch_adam,
    ),
    Patch(
        "deepspeed.comm.torch",
        "build_shm_op",
        "a second extension compiled at first use (shared-memory collectives); gloo does without",
        _do_nothing,
    ),
    Patch(
        "deepspeed.runtime.zero.partition_parameters",
        "Init._allgather_params_coalesced",
        "it starts to gather all parameters and waits for the last; NCCL keeps their order, gloo does not",
        _gathered_one_by_one,
    ),
    Patch(
        "openrlhf.utils.distributed_util",
        "stateless_init_process_group",
        "the group between trainer and engines is NCCL",
        _instead(weight_sync.stateless_init_process_group),
    ),
    Patch(
        "openrlhf.trainer.ray.vllm_worker_wrap",
        "WorkerWrap.update_weight",
        "it receives into memory on cuda",
        _instead(weight_sync.update_weight),
    ),
    Patch(
        "vllm.platforms.cpu",
        "CpuPlatform.check_and_update_config",
        "the cache of keys and values takes a share of all memory by default",
        _small_kv_cache,
    ),
    Patch(
        "vllm.model_executor.layers.utils",
        "dispatch_cpu_unquantized_gemm",
        "packed copies of weights do not see new ones",
        weight_sync.packing_anew,
    ),
    Patch(
        "vllm.model_executor.layers.fused_moe.experts.cpu_moe",
        "CPUUnquantizedExperts.process_weights_after_loading",
        "the same for experts, which cannot be packed again",
        _instead(weight_sync.refuse_packed_weight),
    ),
    Patch(
        "vllm.model_executor.layers.attention.mla_attention",
        "MLAAttention.process_weights_after_loading",
        "the same for latent attention, which multiplies by copies of a part of its weights",
        _instead(weight_sync.refuse_packed_weight),
    ),
)


def register() -> None:
    """Have each patch applied when its module is imported. Needs torch to be imported."""
    flash_attn.install()
    # The host asks for pinned memory; torch says in every epoch that it has no use for it here.
    warnings.filterwarnings("ignore", message="'pin_memory' argument is set as true")
    for patch in PATCHES:
        on_import(patch.module, patch.apply)
