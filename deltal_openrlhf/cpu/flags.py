"""Command line values on a CPU: what is set, what is refused."""

import operator
from collections.abc import Collection
from typing import Any

from deltal_openrlhf.arguments import Arguments

# (flag, value, why): set when the run has another value.
NEEDED = (
    ("vllm.sync_backend", "gloo", "there is no NCCL"),
    ("vllm.enforce_eager", True, "there are no CUDA graphs"),
    ("vllm.enable_sleep", False, "there is no GPU memory to hand over"),
    ("ds.enable_sleep", False, "there is no GPU memory to hand over"),
    ("ds.attn_implementation", "sdpa", "flash attention needs a GPU"),
)

# (flag, what it may be, why): an error when the run has another value.
ALLOWED = (
    (
        "vllm.tensor_parallel_size",
        1,
        "vLLM's CPU workers share the cores, so that splits gain nothing; use --vllm.num_engines",
    ),
    ("vllm.sync_with_ray", False, "Ray's collectives have no gloo broadcast that the host's call fits"),
    ("ds.tensor_parallel_size", 1, "DeepSpeed's AutoTP needs CUDA"),
    ("ds.ring_attn_size", 1, "ring attention needs flash-attn and CUDA"),
    ("ds.load_in_4bit", False, "bitsandbytes needs CUDA"),
    ("ds.adam_offload", False, "the optimizer is on the CPU already; DeepSpeed would compile an extension"),
    ("ds.deepcompile", False, "DeepCompile needs CUDA"),
    ("ds.use_liger_kernel", False, "Liger kernels need Triton and a GPU"),
    ("ds.param_dtype", "bf16", "the rollout engine runs in bfloat16"),
)


def adjust_flags(args: Arguments, ignored: Collection[str] = ()) -> list[str]:
    """Set what a CPU run needs in the host's hierarchical arguments; returns one line for each value changed.

    Raises ValueError with one line for what cannot work on a CPU, before anything is changed.
    ignored: flags that the run's training backend does not read; they are left alone.
    """
    for flag, allowed, why in ALLOWED:
        value = lookup(args, flag)
        if value != allowed and flag not in ignored:
            raise ValueError(f"--{flag} is {value}; without a GPU only {allowed} is allowed: {why}")
    notes = []
    for flag, wanted, why in NEEDED:
        value = lookup(args, flag)
        if value != wanted and flag not in ignored:
            group, name = flag.rsplit(".", 1)
            setattr(lookup(args, group), name, wanted)
            notes.append(f"--{flag} {wanted} instead of {value}: {why}")
    return notes


def lookup(args: Arguments, flag: str) -> Any:
    """The value of a dotted flag in the host's hierarchical arguments."""
    return operator.attrgetter(flag)(args)
