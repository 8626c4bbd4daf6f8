"""What `deltal doctor` says of GPU machines, simulated: fake commands and folders, values that a driver or torch would give."""

import ctypes
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from deltal_openrlhf.cli import doctor, gpu, node
from deltal_openrlhf.host import toolkit

GIB = 1024**3
NVCC = """nvcc: NVIDIA (R) Cuda compiler driver
Copyright (c) 2005-2025 NVIDIA Corporation
Built on Wed_Aug_20_01:58:59_PM_PDT_2025
Cuda compilation tools, release {0}, V{0}.88
Build cuda_{0}.r{0}/compiler.36424714_0
"""
# What /proc/driver/nvidia/version holds: the proprietary and the open kernel module.
PROPRIETARY = """NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024
GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)
"""
OPEN = """NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder@U22-I3-B07-05-3)
GCC version:  gcc version 11.4.0 (Ubuntu 11.4.0-1ubuntu1~22.04)
"""
TOGETHER = {12: ["12.6", "12.8", "12.9"]}
HOPPER = gpu.Gpu("NVIDIA H100 80GB HBM3", (9, 0), 80 * GIB, 79 * GIB)
ARCHITECTURES = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]


def only(report) -> doctor.Problem:
    (problem,) = report[1]
    return problem


def command(folder: Path, name: str, says: str = "") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")  # of the shell itself: PATH holds nothing else
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return path


# ── Driver ──


@pytest.mark.parametrize(("text", "version"), [(PROPRIETARY, "550.54.15"), (OPEN, "580.65.06"), ("", None)])
def test_the_version_of_the_kernel_module(text, version, tmp_path):
    (tmp_path / "version").write_text(text)
    assert node.driver_version(tmp_path / "version") == version
    assert node.driver_version(tmp_path / "none") is None


def test_the_drivers_cuda(monkeypatch):
    def get_version(pointer):
        pointer._obj.value = 13010
        return 0

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(cuDriverGetVersion=get_version))
    assert gpu.find_driver().cuda == (13, 1)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(cuDriverGetVersion=lambda pointer: 100))
    assert gpu.find_driver().cuda is None
    monkeypatch.undo()
    assert gpu.find_driver("libno-such-driver.so.1").cuda is None


def test_a_driver_has_to_be_of_torchs_major_version():
    for cuda in ((13, 0), (13, 3), (14, 0)):
        assert gpu.check_driver("13.0", gpu.Driver("580.65.06", cuda), True)[1] == []
    # Within a major version, an older driver runs newer code.
    assert gpu.check_driver("12.9", gpu.Driver("535.1", (12, 2)), True)[1] == []
    old = only(gpu.check_driver("13.0", gpu.Driver("550.54.15", (12, 4)), True))
    assert old.fatal and "CUDA up to 12.4, torch was built for CUDA 13.0" in old.what and "580.65.06" in old.remedy
    assert "525" in only(gpu.check_driver("12.8", gpu.Driver("470.1", (11, 4)), True)).remedy


def test_no_driver_is_fatal_where_the_run_is():
    missing = gpu.Driver(None, None)
    assert only(gpu.check_driver("13.0", missing, True)).fatal
    assert not only(gpu.check_driver("13.0", missing, False)).fatal
    assert "docker run --gpus all" in only(gpu.check_driver("13.0", missing, True)).remedy


# ── GPUs ──


def test_gpus_that_a_run_can_use():
    facts, problems = gpu.check_gpus([HOPPER, HOPPER], ARCHITECTURES)
    assert problems == []
    assert facts[1] == "GPU 1         NVIDIA H100 80GB HBM3, compute capability 9.0, 79.0 of 80.0 GiB free"


@pytest.mark.parametrize(
    ("capability", "architectures", "says"),
    [
        ((7, 5), ARCHITECTURES, "bfloat16 in vLLM needs 8.0"),
        ((8, 9), ARCHITECTURES, None),  # sm_86 runs on 8.9
        ((9, 0), ["sm_80", "sm_100"], "was built for sm_80, sm_100"),
        ((8, 0), ["sm_86"], "was built for sm_86"),
        ((12, 1), ARCHITECTURES, None),
        ((13, 0), ARCHITECTURES, None),  # compiled at first use from compute_120
        ((13, 0), ["sm_120"], "was built for sm_120"),
        ((10, 3), ["sm_100a"], None),
    ],
)
def test_compute_capability(capability, architectures, says):
    report = gpu.check_gpus([HOPPER._replace(capability=capability)], architectures)
    if says is None:
        assert report[1] == []
    else:
        assert says in only(report).what and only(report).fatal


def test_memory_in_use_is_a_note():
    note = only(gpu.check_gpus([HOPPER, HOPPER._replace(free=30 * GIB)], ARCHITECTURES))
    assert note.what == "GPU 1: 50.0 of 80.0 GiB are in use" and not note.fatal


# ── Compiler ──


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A machine that can compile for CUDA 13.0: commands on PATH, CUDA_HOME, Python.h."""
    for name in ("g++", "ninja"):
        command(tmp_path / "bin", name)
    command(tmp_path / "cuda" / "bin", "nvcc", NVCC.format("13.0"))
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "Python.h").touch()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in ("CXX", "CUDA_HOME", "CUDA_PATH"):
        monkeypatch.setenv(name, "")  # and not delenv: it is put back as it was, whatever a test sets
    monkeypatch.delenv("CXX")
    monkeypatch.setattr(gpu.sysconfig, "get_path", lambda name: str(tmp_path / name))

    def check(torch_cuda="13.0", cuda_home=str(tmp_path / "cuda"), skip=False):
        return gpu.check_toolchain(
            torch_cuda, gpu.find_toolchain(cuda_home, tmp_path / "site-packages"), TOGETHER, skip
        )

    check.folder = tmp_path
    return check


def test_a_machine_that_compiles(tools):
    facts, problems = tools()
    assert problems == []
    assert facts == [
        f"compiler      nvcc 13.0 ({tools.folder}/cuda); g++ {tools.folder}/bin/g++; ninja {tools.folder}/bin/ninja"
    ]


def test_no_nvcc(tools):
    assert "there is no nvcc" in only(tools(cuda_home=None)).what
    assert "export CUDA_HOME=/usr/local/cuda-13.0" in only(tools(cuda_home=None)).remedy
    (tools.folder / "cuda" / "bin" / "nvcc").unlink()
    assert f"CUDA_HOME is {tools.folder}/cuda, and bin/nvcc does not run" in only(tools()).what


def test_nvcc_of_another_version(tools):
    """As DeepSpeed has it: equal, or both in the same list."""
    assert "is of CUDA 13.0, torch of 13.1" in only(tools(torch_cuda="13.1")).what
    assert tools(torch_cuda="13.1", skip=True)[1] == []
    command(tools.folder / "cuda" / "bin", "nvcc", NVCC.format("12.6"))
    assert tools(torch_cuda="12.8")[1] == []
    assert "is of CUDA 12.6, torch of 13.0" in only(tools()).what


def test_the_toolkit_of_torchs_packages_is_the_remedy(tools, monkeypatch):
    """The commands are run: afterwards the linker's names are there, runs take it by themselves, and doctor has nothing to say."""
    folder = tools.folder / "site-packages" / "nvidia" / "cu13"
    command(folder / "bin", "nvcc", NVCC.format("13.0"))
    (folder / "lib").mkdir()
    for name in ("libcudart.so.13", "libcurand.so.10"):
        (folder / "lib" / name).write_text(name)
    monkeypatch.setattr(toolkit, "SYSTEM", tools.folder / "none")
    monkeypatch.setattr(toolkit, "packages", lambda: tools.folder / "site-packages")
    toolkit.prepare()
    assert not os.environ["CUDA_HOME"]  # it could not link
    remedy = only(tools(cuda_home=None)).remedy
    assert remedy.endswith(f"; export CUDA_HOME={folder}")
    subprocess.run(["/bin/sh", "-c", f"PATH=/bin:/usr/bin; {remedy}"], check=True)
    for name, library in (("libcudart.so", "libcudart.so.13"), ("libcurand.so", "libcurand.so.10")):
        assert (folder / "lib64" / name).read_text() == library
    toolkit.prepare()
    assert os.environ["CUDA_HOME"] == str(folder) and tools(cuda_home=os.environ["CUDA_HOME"])[1] == []
    # A folder of the system without nvcc, as images that only run CUDA have it, is no toolkit.
    monkeypatch.setenv("CUDA_HOME", "")
    with monkeypatch.context() as machine:
        (tools.folder / "empty").mkdir()
        machine.setattr(toolkit, "SYSTEM", tools.folder / "empty")
        toolkit.prepare()
        assert os.environ["CUDA_HOME"] == str(folder)
    # What the user has comes first: a variable, nvcc on PATH, the system's toolkit.
    monkeypatch.setenv("CUDA_HOME", "/mine")
    toolkit.prepare()
    assert os.environ["CUDA_HOME"] == "/mine"
    for there in ("PATH", "SYSTEM"):
        monkeypatch.setenv("CUDA_HOME", "")
        with monkeypatch.context() as machine:
            if there == "PATH":
                command(tools.folder / "other", "nvcc")
                machine.setenv("PATH", f"{tools.folder / 'other'}:{os.environ['PATH']}")
            else:
                machine.setattr(toolkit, "SYSTEM", tools.folder / "system")
                command(tools.folder / "system" / "bin", "nvcc")
            toolkit.prepare()
            assert not os.environ["CUDA_HOME"]
    # Of another version than torch's it is of no use.
    command(folder / "bin", "nvcc", NVCC.format("12.9"))
    assert "/usr/local/cuda-13.0" in only(tools(cuda_home=None)).remedy


def test_the_judgement_on_nvcc_is_deepspeeds_own(tools, monkeypatch):
    """For every pair of versions: a problem where DeepSpeed raises, none where it accepts."""
    from deepspeed.ops.op_builder import builder

    versions = ("12.6", "12.7", "12.8", "12.9", "13.0", "13.1")
    monkeypatch.setattr("torch.utils.cpp_extension.CUDA_HOME", str(tools.folder / "cuda"))
    for installed in versions:
        command(tools.folder / "cuda" / "bin", "nvcc", NVCC.format(installed))
        found = gpu.find_toolchain(str(tools.folder / "cuda"), tools.folder / "site-packages")
        for wanted in versions:
            monkeypatch.setattr(torch.version, "cuda", wanted)
            try:
                builder.assert_no_cuda_mismatch()
                refused = False
            except builder.CUDAMismatchException:
                refused = True
            problems = gpu.check_toolchain(wanted, found, builder.cuda_minor_mismatch_ok, False)[1]
            assert bool(problems) == refused, (installed, wanted)


@pytest.mark.parametrize(("missing", "remedy"), [("bin/g++", "apt-get install g++"), ("include/Python.h", "-dev")])
def test_a_part_of_the_compiler_is_missing(missing, remedy, tools):
    (tools.folder / missing).unlink()
    problem = only(tools())
    assert Path(missing).name in problem.what and remedy in problem.remedy and problem.fatal


def test_ninja_that_is_not_on_the_path(tools, monkeypatch):
    (tools.folder / "bin" / "ninja").unlink()
    monkeypatch.setattr(sys, "executable", str(tools.folder / "venv" / "python"))
    toolkit.prepare()
    assert only(tools()).remedy == "pip install ninja"
    # In an environment that is not activated it is next to the interpreter.
    command(tools.folder / "venv", "ninja")
    toolkit.prepare()
    assert tools()[1] == [] and os.environ["PATH"] == f"{tools.folder / 'venv'}:{tools.folder / 'bin'}"


def test_a_compiled_fused_adam_needs_no_compiler(tmp_path):
    (tmp_path / "ops" / "adam").mkdir(parents=True)
    (tmp_path / "ops" / "adam" / "fused_adam.py").touch()
    assert not gpu.find_fused_adam(tmp_path)
    (tmp_path / "ops" / "adam" / "fused_adam_op.cpython-312-x86_64-linux-gnu.so").touch()
    assert gpu.find_fused_adam(tmp_path)


# ── CUDA IPC ──


def test_whether_a_process_may_take_anothers_file(tmp_path, monkeypatch):
    """Asked for by doing it. Here nothing forbids it; a kernel that says no is simulated by a system call that there is not."""
    (tmp_path / "scope").write_text("1\n")
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    if os.getuid() == 0 or not scope.exists() or scope.read_text().strip() == "0":
        assert gpu.find_ipc(tmp_path / "none") == gpu.Ipc(True, None)
    monkeypatch.setattr(gpu, "PIDFD_GETFD", 4095)
    assert gpu.find_ipc(tmp_path / "scope") == gpu.Ipc(False, 1)


def test_cuda_ipc_of_expandable_segments_needs_ptrace():
    refused = gpu.Ipc(False, 1)
    for allocator in ("expandable_segments:True", "max_split_size_mb:64, expandable_segments:true"):
        problem = only(gpu.check_ipc(refused, allocator))
        assert (
            problem.fatal
            and "pidfd_getfd: Operation not permitted" in problem.what
            and "ptrace_scope 1" in problem.what
        )
        assert "sysctl -w kernel.yama.ptrace_scope=0" in problem.remedy and "--cap-add SYS_PTRACE" in problem.remedy
        assert gpu.check_ipc(gpu.Ipc(True, 1), allocator)[1] == []
    for allocator in ("", "expandable_segments:False"):
        assert gpu.check_ipc(refused, allocator)[1] == []


# ── flash-attn, and the whole ──


def test_flash_attention_or_its_stand_in():
    assert gpu.check_flash_attention("2.8.3") == (["flash-attn    2.8.3"], [])
    facts, (note,) = gpu.check_flash_attention(None)
    assert "stand-in" in facts[0] and not note.fatal and "--flash-attn" in note.remedy


def test_a_gpu_machine(tools, monkeypatch):
    """All checks of a machine that can train, and of one whose GPUs torch cannot start."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ARCHITECTURES)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (79 * GIB, 80 * GIB))
    properties = SimpleNamespace(name="NVIDIA H100 80GB HBM3", major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr("torch.utils.cpp_extension.CUDA_HOME", str(tools.folder / "cuda"))
    monkeypatch.setattr(gpu, "find_driver", lambda: gpu.Driver("580.65.06", (13, 0)))
    monkeypatch.setattr(gpu, "find_ipc", lambda: gpu.Ipc(False, 1))
    monkeypatch.setattr(doctor, "installed_version", lambda package: "2.8.3" if package == "flash-attn" else None)
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    facts, problems = doctor.check_gpu()
    assert problems == []
    assert [fact.split("  ")[0] for fact in facts] == ["driver", "GPU 0", "GPU 1", "compiler", "CUDA IPC", "flash-attn"]

    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    assert "expandable_segments" in only(doctor.check_gpu()).what
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF")

    def broken(index):
        raise RuntimeError("No CUDA GPUs are available\nmore")

    monkeypatch.setattr(torch.cuda, "get_device_properties", broken)
    assert only(doctor.check_gpu()).what == "torch cannot start CUDA: No CUDA GPUs are available"


def test_a_cpu_machine_has_no_such_facts():
    if torch.version.cuda is None:
        assert doctor.check_gpu() == ([], [])


def test_the_facts_of_a_node_are_those_of_the_packages():
    """In a process of its own that imports no torch: what it says is what the packages say."""
    code = "import sys; from deltal_openrlhf.cli import node; print(node.facts()['torch']); assert 'torch' not in sys.modules"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPUs"
    assert process.stdout.strip() == f"{torch.__version__}, for {built}"
