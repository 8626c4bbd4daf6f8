"""Counts the GPUs that the host will ask Ray for and checks that they exist. Ray would wait for missing ones forever."""

import os
from typing import NamedTuple

from deltal_openrlhf.arguments import Arguments, WorkerGroup
from deltal_openrlhf.host.worker_groups import worker_groups


class NotThere(ValueError):
    """A run asks for more GPUs than exist."""


class Request(NamedTuple):
    """GPUs for each rank of the first of `models`. The other models share these GPUs."""

    models: tuple[str, ...]
    gpus: int
    flags: str
    """The flags whose product `gpus` is."""

    def describe(self) -> str:
        return f"{self.gpus} for {', '.join(self.models)} ({self.flags})"


def ranks(group: WorkerGroup) -> int:
    """The number of workers of a group, each with a GPU or a share of one."""
    return group.num_nodes * group.num_gpus_per_node


def requests(args: Arguments) -> list[Request]:
    """What openrlhf.cli.train_ppo_ray's train() places, in the order in which it does. args: the host's hierarchical arguments.

    Models that are not colocated hold a whole GPU a rank. Colocated ones take 0.2 of a GPU in a placement group of one GPU a rank, which
    Ray reserves as a whole. PACK lets a group spread over more nodes than --*.num_nodes says, so only the total has to fit.
    """
    groups = worker_groups(args)
    # Where each model is: the model whose ranks reserve the GPUs.
    reserved_by = {"actor": "actor", "vllm": "vllm"} | {name: name for name in groups}
    if args.train.colocate_all and not args.train.async_enable:
        reserved_by["vllm"] = "actor"
    if "ref" in groups and (args.train.colocate_all or args.train.colocate_actor_ref):
        reserved_by["ref"] = "actor"
    together = "critic" in groups and args.train.colocate_critic_reward
    for name in ("critic", "reward"):
        if name in groups and (together or args.train.colocate_all):
            reserved_by[name] = "critic" if together else "actor"

    flags = {name: f"--{name}.num_nodes x --{name}.num_gpus_per_node" for name in groups}
    flags["vllm"] = "--vllm.num_engines x --vllm.tensor_parallel_size"
    gpus = {name: ranks(group) for name, group in groups.items()}
    gpus["vllm"] = (args.vllm.num_engines or 0) * args.vllm.tensor_parallel_size
    return [
        Request(tuple(name for name, where in reserved_by.items() if where == owner), gpus[owner], flags[owner])
        for owner in dict.fromkeys(reserved_by.values())
    ]


def total(args: Arguments) -> int:
    """GPUs that have to be free at the same time."""
    return sum(request.gpus for request in requests(args))


def here() -> int:
    """GPUs that torch sees on this machine."""
    import torch

    return torch.cuda.device_count()


def smallest_memory() -> int | None:
    """Bytes of the smallest GPU of this machine, by its driver. None if that cannot be asked.

    Not by torch: this process would hold a context on the GPU for the whole run.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # noqa: BLE001 - not installed, or no driver: each raises its own
        return None
    handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
    return min((pynvml.nvmlDeviceGetMemoryInfo(handle).total for handle in handles), default=None)


def joins_cluster() -> bool:
    """Whether ray.init would join a running cluster, which may have GPUs elsewhere."""
    address = os.environ.get("RAY_ADDRESS")
    return address != "local" if address else os.path.exists("/tmp/ray/ray_current_cluster")


def check(args: Arguments, there: float, where: str) -> None:
    """Raise NotThere if the run asks for more GPUs than `there`. where: a place such as "this machine"."""
    asked = total(args)
    if asked <= there:
        return
    parts = ", ".join(request.describe() for request in requests(args))
    remedy = "" if args.train.colocate_all else "; with --train.colocate_all the models share GPUs"
    raise NotThere(f"this run asks for {asked} GPUs: {parts}; {where} has {there:g}{remedy}")


def check_cores(args: Arguments) -> None:
    """Raise ValueError if a run without a GPU has more ranks than cores. The host's default is 8 ranks a node.

    Each of these processes loads the model, so together they would exhaust the memory.
    """
    cores = os.cpu_count() or 1
    for name, group in worker_groups(args).items():
        if group.num_gpus_per_node > cores:
            raise ValueError(
                f"--{name}.num_gpus_per_node is {group.num_gpus_per_node} (8 is OpenRLHF's default); without a GPU every rank needs a "
                f"core, so allowed are 1 to {cores}"
            )


def check_cluster(args: Arguments) -> None:
    """Do check() against the Ray cluster that this process has joined, with the nodes that its autoscaler may still start.

    Prints a line if other runs hold the GPUs for now; Ray waits until they are free.
    """
    import ray
    from ray._private.state import state

    there = ray.cluster_resources().get("GPU", 0)
    # None without an autoscaler; its sum may leave out nodes that were started by hand.
    if limits := state.get_max_resources_from_cluster_config():
        there = max(there, limits.get("GPU", 0))
    check(args, there, "the Ray cluster")
    free, asked = ray.available_resources().get("GPU", 0), total(args)
    if asked > free:
        print(
            f"deltal train: {free:g} of the Ray cluster's {there:g} GPUs are free; waiting until {asked} are",
            flush=True,
        )
