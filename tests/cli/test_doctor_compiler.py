"""What `deltal doctor` says of the compiler on GPU machines, and of such a machine as a whole, simulated: fake commands and folders."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.gpu_machine import ARCHITECTURES, GIB, only, report

from deltal_openrlhf.cli import doctor, gpu
from deltal_openrlhf.host import toolkit

NVCC = """nvcc: NVIDIA (R) Cuda compiler driver
Copyright (c) 2005-2025 NVIDIA Corporation
Built on Wed_Aug_20_01:58:59_PM_PDT_2025
Cuda compilation tools, release {0}, V{0}.88
Build cuda_{0}.r{0}/compiler.36424714_0
"""
TOGETHER = {12: ["12.6", "12.8", "12.9"]}


def command(folder: Path, name: str, says: str = "") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")  # of the shell itself: PATH holds nothing else
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return path


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
    facts, problems = report(tools())
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
    assert report(tools(torch_cuda="13.1", skip=True))[1] == []
    command(tools.folder / "cuda" / "bin", "nvcc", NVCC.format("12.6"))
    assert report(tools(torch_cuda="12.8"))[1] == []
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
    assert os.environ["CUDA_HOME"] == str(folder) and report(tools(cuda_home=os.environ["CUDA_HOME"]))[1] == []
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
            problems = list(gpu.check_toolchain(wanted, found, builder.cuda_minor_mismatch_ok, False))[1:]
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
    assert report(tools())[1] == [] and os.environ["PATH"] == f"{tools.folder / 'venv'}:{tools.folder / 'bin'}"


def test_a_compiled_fused_adam_needs_no_compiler(tmp_path):
    (tmp_path / "ops" / "adam").mkdir(parents=True)
    (tmp_path / "ops" / "adam" / "fused_adam.py").touch()
    assert not gpu.find_fused_adam(tmp_path)
    (tmp_path / "ops" / "adam" / "fused_adam_op.cpython-312-x86_64-linux-gnu.so").touch()
    assert gpu.find_fused_adam(tmp_path)


# ── The whole machine ──


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
    facts, problems = report(doctor.check_gpu())
    assert problems == []
    assert [fact.split("  ")[0] for fact in facts] == ["driver", "GPU 0", "GPU 1", "compiler", "CUDA IPC", "flash-attn"]

    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    assert "expandable_segments" in only(doctor.check_gpu()).what
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF")

    def broken(index):
        raise RuntimeError("No CUDA GPUs are available\nmore")

    monkeypatch.setattr(torch.cuda, "get_device_properties", broken)
    assert only(doctor.check_gpu()).what == "torch cannot start CUDA: No CUDA GPUs are available"
