"""Command line values on a CPU: what is set, what is refused."""

import os
from typing import Any

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
        "vLLM's CPU workers share the cores, splitting a model gains nothing; use --vllm.num_engines",
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


def adjust_flags(args: Any) -> list[str]:
    """Set what a CPU run needs in the host's hierarchical arguments; returns one line for each value changed.

    Raises ValueError with one line for what cannot work on a CPU, before anything is changed.
    """
    for flag, allowed, why in ALLOWED:
        value = lookup(args, flag)
        if value != allowed and not _is_megatrons(flag, args):
            raise ValueError(f"--{flag} is {value}; without a GPU only {allowed} is allowed: {why}")
    _check_ranks(args)
    notes = []
    for flag, wanted, why in NEEDED:
        value = lookup(args, flag)
        if value != wanted and not _is_megatrons(flag, args):
            group, name = flag.rsplit(".", 1)
            setattr(lookup(args, group), name, wanted)
            notes.append(f"--{flag} {wanted} instead of {value}: {why}")
    return notes


def _is_megatrons(flag: str, args: Any) -> bool:
    """Whether the flag has no meaning in this run: --backend megatron refuses or sets those of DeepSpeed and of the Hugging Face model.

    The stock host has no --backend.
    """
    return getattr(args, "backend", "deepspeed") == "megatron" and flag.startswith("ds.") and flag != "ds.enable_sleep"


def worker_groups(args: Any) -> dict[str, Any]:
    """The groups of training workers that the host will start, by name: args.actor and those of the others that are in use.

    Asks for what decides it, so that it holds before the host has filled in its own values (critic model, agent as reward) and after.
    """
    in_use = {
        "actor": True,
        "ref": args.algo.kl.init_coef > 0,
        "critic": args.algo.advantage.estimator == "gae",
        "reward": not (args.reward.remote_url or args.train.agent_func_path),
    }
    return {name: getattr(args, name) for name, used in in_use.items() if used}


def _check_ranks(args: Any) -> None:
    """The host's default is 8 ranks a node; processes of which each loads the model would exhaust the memory."""
    cores = os.cpu_count() or 1
    for name, group in worker_groups(args).items():
        ranks = group.num_gpus_per_node
        if ranks > cores:
            raise ValueError(
                f"--{name}.num_gpus_per_node is {ranks} (8 is the host's default); without a GPU every rank needs a core, so allowed are 1 "
                f"to {cores}"
            )


def lookup(args: Any, flag: str) -> Any:
    """The value of a dotted flag in the host's hierarchical arguments."""
    for name in flag.split("."):
        args = getattr(args, name)
    return args
