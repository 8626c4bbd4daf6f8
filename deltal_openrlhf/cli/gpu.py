"""What a run on GPUs needs of the machine: driver, GPUs, CUDA compiler, CUDA IPC, flash-attn. For `deltal doctor`.

Every find_* function looks at the machine, every check_* function judges what was found and looks at nothing.
"""

import ctypes
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from deltal_openrlhf.cli.findings import Findings, Problem
from deltal_openrlhf.cli.node import driver_version
from deltal_openrlhf.host import toolkit

GIB = 1024**3
Version = tuple[int, int]

OLDEST_DRIVER = {12: "525.60.13", 13: "580.65.06"}
"""Of a major version of CUDA, on Linux: NVIDIA's table of minor version compatibility in the CUDA release notes."""
BFLOAT16 = (8, 0)
"""The least compute capability with bfloat16, which OpenRLHF asks vLLM for."""
FREE_SHARE = 0.9
PIDFD_GETFD = 438
"""System call number, the same on all architectures."""


class Driver(NamedTuple):
    version: str | None
    """As in 580.65.06, None where there is no kernel module."""
    cuda: Version | None
    """The newest CUDA it runs; None without libcuda.so.1."""


class Gpu(NamedTuple):
    name: str
    capability: Version
    total: int
    """Bytes."""
    free: int


class Packaged(NamedTuple):
    """The CUDA toolkit among torch's own packages, which torch does not look for. use: commands after which it compiles with it."""

    nvcc: Version | None
    use: str


class Toolchain(NamedTuple):
    """What compiles DeepSpeed's FusedAdam. cuda_home: as torch finds it. None: not there."""

    cuda_home: str | None
    nvcc: Version | None
    gxx: str | None
    ninja: str | None
    headers: Path
    """The folder that has to hold Python.h."""
    packaged: Packaged | None


class Ipc(NamedTuple):
    """How processes may hand memory to one another. scope: kernel.yama.ptrace_scope, None without Yama."""

    descriptors: bool
    """Whether a process may take an open file of another one of the same user (pidfd_getfd)."""
    scope: int | None


def find_driver(library: str = "libcuda.so.1") -> Driver:
    number = ctypes.c_int()
    try:
        failed = ctypes.CDLL(library).cuDriverGetVersion(ctypes.byref(number))
    except OSError:
        failed = True
    return Driver(driver_version(), None if failed else (number.value // 1000, number.value % 1000 // 10))


def check_driver(torch_cuda: str, driver: Driver, needed: bool) -> Findings:
    """Whether the driver runs torch_cuda, which is torch.version.cuda. needed: False where this machine only submits jobs to a cluster."""
    yield f"driver        {driver.version or 'no kernel module'}, for CUDA up to {_text(driver.cuda)}"
    major = int(torch_cuda.split(".")[0])
    wanted = f"NVIDIA driver {OLDEST_DRIVER[major]} or later" if major in OLDEST_DRIVER else "a later NVIDIA driver"
    if driver.cuda is None:
        remedy = f"install {wanted}; in a container: docker run --gpus all, with NVIDIA's container toolkit"
        yield Problem("there is no NVIDIA driver (libcuda.so.1)", remedy, fatal=needed)
    # Within a major version an older driver runs what a newer toolkit made.
    elif driver.cuda[0] < major:
        what = f"the driver runs CUDA up to {_text(driver.cuda)}, torch was built for CUDA {torch_cuda}"
        yield Problem(what, f"install {wanted}", fatal=needed)


def find_gpus() -> list[Gpu]:
    """The GPUs as torch sees them, which starts CUDA on each. Raises RuntimeError where CUDA does not start."""
    import torch

    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        found.append(Gpu(properties.name, (properties.major, properties.minor), total, free))
    return found


def check_gpus(gpus: list[Gpu], architectures: Collection[str]) -> Findings:
    """Whether torch runs on each GPU, and its memory is free. architectures: torch.cuda.get_arch_list(), as in sm_90 and compute_120."""
    for index, gpu in enumerate(gpus):
        capability, total = f"compute capability {_text(gpu.capability)}", f"{gpu.total / GIB:.1f} GiB"
        yield f"GPU {index:<9} {gpu.name}, {capability}, {gpu.free / GIB:.1f} of {total} free"
        name = f"GPU {index} ({gpu.name}) has {capability}"
        remedy = "CUDA_VISIBLE_DEVICES without it, or another GPU"
        if gpu.capability < BFLOAT16:
            yield Problem(f"{name}; bfloat16 in vLLM needs {_text(BFLOAT16)}", remedy)
        elif not any(_runs_on(gpu.capability, architecture) for architecture in architectures):
            yield Problem(f"{name}; this torch was built for {', '.join(architectures)}", remedy)
        if gpu.free < FREE_SHARE * gpu.total:
            what = f"GPU {index}: {(gpu.total - gpu.free) / GIB:.1f} of {total} are in use"
            yield Problem(what, "unless a run is active: nvidia-smi shows what holds it", fatal=False)


def _runs_on(capability: Version, architecture: str) -> bool:
    """Machine code (sm_) runs on its major version from its minor version on, PTX (compute_) on everything later."""
    kind, _, number = architecture.partition("_")
    digits = re.match(r"\d+", number)
    if digits is None:
        return False
    built = int(digits[0][:-1]), int(digits[0][-1])
    return built <= capability and (kind == "compute" or built[0] == capability[0])


def find_toolchain(cuda_home: str | None, packages: Path) -> Toolchain:
    """What is there to compile with. cuda_home: torch.utils.cpp_extension.CUDA_HOME. packages: the folder that torch is installed in."""
    packaged = toolkit.packaged(packages)
    return Toolchain(
        cuda_home=cuda_home,
        nvcc=_nvcc_version(Path(cuda_home)) if cuda_home else None,
        gxx=shutil.which(os.environ.get("CXX", "g++")),
        ninja=shutil.which("ninja"),
        headers=Path(sysconfig.get_path("include")),
        packaged=Packaged(_nvcc_version(packaged), _commands_to_use(packaged)) if packaged else None,
    )


def _nvcc_version(cuda_home: Path) -> Version | None:
    try:
        said = subprocess.run([cuda_home / "bin" / "nvcc", "-V"], capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"release (\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else None


def _commands_to_use(folder: Path) -> str:
    """The packages lack the folder and the names that a linker looks for. Once they are there, toolkit.prepare() takes it by itself."""
    commands = [] if (folder / "lib64").exists() else [f"ln -s lib {folder}/lib64"]
    for name in ("cudart", "curand"):
        for library in (folder / "lib").glob(f"lib{name}.so.*"):
            if not (folder / "lib" / f"lib{name}.so").exists():
                commands.append(f"ln -s {library.name} {folder}/lib/lib{name}.so")
    return "; ".join([*commands, f"export CUDA_HOME={folder}"])


def find_fused_adam(deepspeed: Path) -> bool:
    """Whether DeepSpeed was installed with its FusedAdam compiled (DS_BUILD_FUSED_ADAM=1). deepspeed: the package's folder."""
    return any((deepspeed / "ops" / "adam").glob("fused_adam_op*.so"))


def check_toolchain(
    torch_cuda: str, tools: Toolchain, interchangeable: Mapping[int, Collection[str]], skip_version: bool
) -> Findings:
    """DeepSpeed compiles FusedAdam at its first use: with nvcc, g++ and ninja, against Python.h.

    interchangeable: DeepSpeed's cuda_minor_mismatch_ok, the versions by their major one that go together; others have to be equal.
    skip_version: DS_SKIP_CUDA_CHECK=1, with which DeepSpeed takes any version.
    """
    nvcc = f"{_text(tools.nvcc)} ({tools.cuda_home})" if tools.nvcc else "not found"
    yield f"compiler      nvcc {nvcc}; g++ {tools.gxx or 'not found'}; ninja {tools.ninja or 'not found'}"
    wanted = ".".join(torch_cuda.split(".")[:2])
    remedy = (
        f"install the CUDA toolkit {wanted} and export CUDA_HOME=/usr/local/cuda-{wanted}; or take a container of "
        f"nvidia/cuda:{wanted}.*-devel"
    )
    if tools.packaged and _text(tools.packaged.nvcc) == wanted:
        remedy = tools.packaged.use
    together = interchangeable.get(tools.nvcc[0], ()) if tools.nvcc else ()
    if tools.nvcc is None:
        home = tools.cuda_home
        where = f"CUDA_HOME is {home}, and bin/nvcc does not run there" if home else "there is no nvcc"
        yield Problem(f"{where}; DeepSpeed compiles its FusedAdam with it", remedy)
    elif _text(tools.nvcc) != wanted and not {_text(tools.nvcc), wanted} <= {*together} and not skip_version:
        what = f"nvcc in {tools.cuda_home} is of CUDA {_text(tools.nvcc)}, torch of {wanted}; DeepSpeed refuses to compile with it"
        yield Problem(what, remedy)
    if tools.gxx is None:
        yield Problem("g++ is not on PATH, DeepSpeed compiles its Adam with it", "apt-get install g++")
    if tools.ninja is None:
        yield Problem("ninja is not on PATH, DeepSpeed compiles its Adam with it", "pip install ninja")
    if not (tools.headers / "Python.h").exists():
        remedy = f"apt-get install python{sys.version_info[0]}.{sys.version_info[1]}-dev"
        yield Problem(f"there is no Python.h in {tools.headers}, DeepSpeed and Triton compile against it", remedy)


def find_ipc(path: Path = Path("/proc/sys/kernel/yama/ptrace_scope")) -> Ipc:
    """A child tries to take an open file of this process, which Yama, a container's seccomp or capabilities may forbid."""
    code = (
        "import ctypes, os, sys; "
        f"sys.exit(ctypes.CDLL(None).syscall({PIDFD_GETFD}, os.pidfd_open(int(sys.argv[1])), int(sys.argv[2]), 0) < 0)"
    )
    with open(os.devnull) as file:
        child = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code, str(os.getpid()), str(file.fileno())], capture_output=True
        )
    scope = int(path.read_text(encoding="utf-8")) if path.exists() else None
    return Ipc(child.returncode == 0, scope)


def check_ipc(ipc: Ipc, allocator: str) -> Findings:
    """With --train.colocate_all the actor hands its weights to vLLM through CUDA IPC (PyTorch's reduce_tensor).

    Memory of the ordinary allocator goes by a CUDA handle. Expandable segments go by a file descriptor that the engine takes with
    pidfd_getfd, for which the kernel asks for the right to ptrace the actor. allocator: PYTORCH_CUDA_ALLOC_CONF.
    """
    scope = "none" if ipc.scope is None else ipc.scope
    expandable = "expandable_segments:true" in allocator.lower().replace(" ", "")
    can = "works" if ipc.descriptors else "not with expandable_segments"
    yield f"CUDA IPC      {can} (kernel.yama.ptrace_scope {scope})"
    if ipc.descriptors or not expandable:
        return
    what = (
        f"PYTORCH_CUDA_ALLOC_CONF is {allocator}, and processes may not take each other's file descriptors here (kernel.yama.ptrace_scope "
        f"{scope}): with --train.colocate_all the first weight sync ends in pidfd_getfd: Operation not permitted"
    )
    remedy = "leave expandable_segments out; or sysctl -w kernel.yama.ptrace_scope=0, in a container docker run --cap-add SYS_PTRACE"
    yield Problem(what, remedy)


def check_flash_attention(version: str | None) -> Findings:
    if version:
        yield f"flash-attn    {version}"
        return
    yield "flash-attn    not installed: PyTorch's attention (sdpa), and a stand-in for its packing functions"
    what = (
        "without flash-attn packed rows are slower and take more memory, and --ds.ring_attn_size above 1 cannot be used"
    )
    yield Problem(what, "to have them: bash scripts/setup.sh --flash-attn", fatal=False)


def _text(version: Version | None) -> str:
    return "nothing" if version is None else f"{version[0]}.{version[1]}"
