"""What `deltal doctor` says of GPU machines, simulated: fake commands and folders, values that a driver or torch would give."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.gpu_machine import ARCHITECTURES, GIB, only, report

from deltal_openrlhf.cli import doctor, gpu, node

# What /proc/driver/nvidia/version holds: the proprietary and the open kernel module.
PROPRIETARY = """NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024
GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)
"""
OPEN = """NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder@U22-I3-B07-05-3)
GCC version:  gcc version 11.4.0 (Ubuntu 11.4.0-1ubuntu1~22.04)
"""
HOPPER = gpu.Gpu("NVIDIA H100 80GB HBM3", (9, 0), 80 * GIB, 79 * GIB)


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
        assert report(gpu.check_driver("13.0", gpu.Driver("580.65.06", cuda), True))[1] == []
    # Within a major version, an older driver runs newer code.
    assert report(gpu.check_driver("12.9", gpu.Driver("535.1", (12, 2)), True))[1] == []
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
    facts, problems = report(gpu.check_gpus([HOPPER, HOPPER], ARCHITECTURES))
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
    _, problems = report(gpu.check_gpus([HOPPER._replace(capability=capability)], architectures))
    if says is None:
        assert problems == []
    else:
        (problem,) = problems
        assert says in problem.what and problem.fatal


def test_memory_in_use_is_a_note():
    note = only(gpu.check_gpus([HOPPER, HOPPER._replace(free=30 * GIB)], ARCHITECTURES))
    assert note.what == "GPU 1: 50.0 of 80.0 GiB are in use" and not note.fatal


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
        assert report(gpu.check_ipc(gpu.Ipc(True, 1), allocator))[1] == []
    for allocator in ("", "expandable_segments:False"):
        assert report(gpu.check_ipc(refused, allocator))[1] == []


# ── flash-attn, and what is not asked ──


def test_flash_attention_or_its_stand_in():
    assert list(gpu.check_flash_attention("2.8.3")) == ["flash-attn    2.8.3"]
    facts, (note,) = report(gpu.check_flash_attention(None))
    assert "stand-in" in facts[0] and not note.fatal and "--flash-attn" in note.remedy


def test_a_cpu_machine_has_no_such_facts():
    if torch.version.cuda is None:
        assert list(doctor.check_gpu()) == []


def test_the_facts_of_a_node_are_those_of_the_packages():
    """In a process of its own that imports no torch: what it says is what the packages say."""
    code = "import sys; from deltal_openrlhf.cli import node; print(node.facts()['torch']); assert 'torch' not in sys.modules"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPUs"
    assert process.stdout.strip() == f"{torch.__version__}, for {built}"
