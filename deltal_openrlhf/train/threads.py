"""How many threads each process of a run without a GPU has."""

import os

from deltal_openrlhf import cpu
from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host import checkpoint_size
from deltal_openrlhf.train import gpus

ENOUGH = 5_000_000
"""Parameters from which a second thread makes a step shorter. docs/evidence/overhead.md has the times for 0.2 to 135 million."""


def use(parameters: int) -> None:
    """Let torch compute in this process, which is alone, with every core if the model is large enough, else with one thread.

    Does nothing where the user has set OMP_NUM_THREADS.
    """
    import torch

    if cpu.chooses_threads():
        torch.set_num_threads(_cores() if parameters >= ENOUGH else 1)


def of_a_process(args: Arguments) -> int:
    """Cores over the processes that compute at the same time, for a model that is large enough; else 1.

    Trainer and engines take turns, except with --train.async_enable. It is 1 too where the user has set OMP_NUM_THREADS, which holds then,
    and on a cluster, whose nodes may have other cores.
    """
    size = checkpoint_size.parameters(args.actor.model_name_or_path)
    if size is None or size < ENOUGH or gpus.joins_cluster() or not cpu.chooses_threads():
        return 1
    ranks = args.actor.num_nodes * args.actor.num_gpus_per_node
    engines = (args.vllm.num_engines or 0) * args.vllm.tensor_parallel_size
    at_once = ranks + engines if args.train.async_enable else max(ranks, engines)
    return max(1, _cores() // at_once)


def _cores() -> int:
    """Those that this process may use: taskset, Slurm and containers may leave it a part of the machine's."""
    return len(os.sched_getaffinity(0))
