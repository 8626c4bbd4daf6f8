"""The least memory that a run takes: weights, gradients and optimizer states of the policy, and the engines' weights.

For P parameters in bf16 or fp16 on R ranks, DeepSpeed keeps on each rank:

    weights      2 P    divided by R with ZeRO-3
    gradients    2 P    divided by R with ZeRO-2 and ZeRO-3
    optimizer   12 P    divided by R with ZeRO-1 to 3: fp32 weights and Adam's two moments; not with --ds.adam_offload

Activations, logits, buffers, a reference or critic model, caches and libraries come on top, so a run takes more. What is more than there is
cannot run. `deltal plan` estimates runs with Megatron.
"""

from typing import NamedTuple

from deltal_openrlhf import backends
from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host import checkpoint_size
from deltal_openrlhf.reports.numbers import count
from deltal_openrlhf.runs.free_memory import available_memory
from deltal_openrlhf.train import gpus

GB = 1e9
WIDTH = 2
"""Bytes of a parameter."""


class LeastMemory(NamedTuple):
    """Bytes of one rank of the policy, and of one rank of an engine."""

    policy: float
    engine: float

    def of_machine(self, args: Arguments) -> float:
        """Bytes of all ranks together, as without a GPU, where an engine has a packed copy of its weights too."""
        engines = (args.vllm.num_engines or 0) * args.vllm.tensor_parallel_size
        return gpus.ranks(args.actor) * self.policy + engines * 2 * self.engine


def of_run(args: Arguments) -> LeastMemory | None:
    """None where the model is not on this machine, for another backend than DeepSpeed, and with Muon, which keeps less than Adam."""
    parameters = checkpoint_size.parameters(args.actor.model_name_or_path)
    if parameters is None or args.backend != backends.DEFAULT or args.actor.optim == "muon":
        return None
    ds, ranks = args.ds, _ranks(args)
    held = parameters / ds.tensor_parallel_size
    weights = (0.5 if ds.load_in_4bit else WIDTH) * held / (ranks if ds.zero_stage == 3 else 1)
    engine = WIDTH * parameters / args.vllm.tensor_parallel_size
    if ds.lora.rank > 0:  # adapters are a few percent
        return LeastMemory(weights, engine)
    gradients = WIDTH * held / (ranks if ds.zero_stage >= 2 else 1)
    optimizer = checkpoint_size.SGD if args.deltal.sgd else checkpoint_size.OPTIMIZER
    states = 0 if ds.adam_offload else optimizer * held / (ranks if ds.zero_stage >= 1 else 1)
    return LeastMemory(weights + gradients + states, engine)


def _ranks(args: Arguments) -> int:
    """Those over which ZeRO divides."""
    return gpus.ranks(args.actor) // args.ds.tensor_parallel_size


def rows(args: Arguments) -> list[tuple[str, str, str]]:
    """Rows of a dry run: what, how much, why."""
    least = of_run(args)
    if least is None:
        return []
    ranks = count(_ranks(args), "rank")
    what = "weights" if args.ds.lora.rank > 0 else "weights, gradients and optimizer states"
    return [
        (
            "of the policy",
            f"{least.policy / GB:.1f} GB",
            f"{what}, ZeRO-{args.ds.zero_stage} over {ranks}; not what one pass takes",
        ),
        ("of an engine", f"{least.engine / GB:.1f} GB", "weights; not their cache"),
    ]


def check(args: Arguments, on_cpu: bool) -> None:
    """Raise ValueError for a run that takes more than this machine, or one of its GPUs, has."""
    least = of_run(args)
    if least is None:
        return
    if on_cpu:
        needed, free = least.of_machine(args), available_memory()
        if needed > free:
            raise ValueError(
                f"--actor.model_name_or_path is {args.actor.model_name_or_path}: the run takes at least {needed / GB:.1f} GB of memory, "
                f"and {free / GB:.1f} GB are free; a smaller model, fewer ranks or fewer engines take less"
            )
        return
    there = gpus.smallest_memory()
    if there is None:
        return
    if least.policy > there:
        raise ValueError(
            f"--ds.zero_stage is {args.ds.zero_stage}: each rank of the policy takes at least {least.policy / GB:.1f} GB, and a GPU has "
            f"{there / GB:.1f} GB; ZeRO-3, more GPUs or --ds.adam_offload take less of each"
        )
    share = args.vllm.gpu_memory_utilization * there
    if args.vllm.num_engines and least.engine > share:
        raise ValueError(
            f"--vllm.gpu_memory_utilization is {args.vllm.gpu_memory_utilization:g}: that is {share / GB:.1f} GB of a GPU, and an engine's "
            f"weights alone take {least.engine / GB:.1f} GB; --vllm.tensor_parallel_size divides them"
        )
