"""`deltal doctor` on this machine, and with planted problems."""

import os
import subprocess
import sys
import time

import pytest
from support import commands
from support.gpu_machine import only, report

from deltal_openrlhf.cli import doctor, machine
from deltal_openrlhf.parity import forkserver
from deltal_openrlhf.runs import free_memory, packages
from megatron_ext import support

GIB = 1024**3


DOCTOR = [sys.executable, "-m", "deltal_openrlhf.cli.main", "doctor"]


def test_on_this_machine():
    process = commands.run(DOCTOR, capture_output=True, text=True, timeout=100)
    assert process.returncode == 0, process.stdout + process.stderr
    facts = {line.split()[0]: line for line in process.stdout.splitlines() if line}
    for name in (
        "python",
        "torch",
        "openrlhf",
        "ray",
        "deepspeed",
        "transformers",
        "megatron",
        "device",
        "memory",
        "disk",
        "enable",
    ):
        assert name in facts
    assert "all symbols found" in facts["host"]
    assert process.stdout.splitlines()[-1] == "a run can work"


# ── Planted problems, one check each ──


def problems(check) -> dict[str, doctor.Problem]:
    return {problem.what: problem for problem in report(check())[1]}


def test_a_missing_package(monkeypatch):
    monkeypatch.setattr(packages, "installed_version", lambda package: None if package == "ray" else "1.0")
    found = problems(doctor.check_versions)
    assert found["ray is not installed"].fatal
    assert "scripts/setup.sh" in found["ray is not installed"].remedy
    assert any("both installed" in what for what in found)


@pytest.fixture
def installed(monkeypatch):
    """installed(on_cpu, {package: version}): what doctor and the Megatron backend find; nothing else is there."""

    def install(on_cpu: bool, versions: dict[str, str]) -> None:
        monkeypatch.setattr(packages, "installed_version", versions.get)
        monkeypatch.setattr(support, "installed_version", versions.get)
        monkeypatch.setattr(doctor, "_cpu_mode", lambda: on_cpu)

    return install


MEGATRON = {"megatron-core": "0.16.1", "mbridge": "0.15.1"}


def test_without_megatron_its_line_says_how_to_get_it(installed):
    installed(False, {})
    (fact,), found = report(doctor.check_megatron())
    assert found == []
    assert fact.endswith(
        "not installed; for --backend megatron: pip install --no-deps megatron-core==0.16.1 mbridge==0.15.1"
    )


def test_an_error_within_megatron_ext_is_not_taken_for_a_missing_package(monkeypatch):
    monkeypatch.delattr("megatron_ext.support")
    monkeypatch.delitem(sys.modules, "megatron_ext.support")
    monkeypatch.setitem(sys.modules, "packaging.specifiers", None)
    with pytest.raises(ModuleNotFoundError, match="packaging.specifiers"):
        list(doctor.check_megatron())


def test_with_megatron_its_line_has_the_versions(installed):
    installed(True, MEGATRON)
    assert list(doctor.check_megatron()) == ["megatron      megatron-core 0.16.1, mbridge 0.15.1"]
    installed(False, MEGATRON | {"transformer-engine": "2.11.0"})
    (fact,), found = report(doctor.check_megatron())
    assert fact.endswith("mbridge 0.15.1, transformer-engine 2.11.0") and found == []


@pytest.mark.parametrize(
    ("versions", "says", "remedy"),
    [
        (
            MEGATRON | {"mbridge": "0.14.0"},
            "mbridge 0.15.1, installed is 0.14.0",
            "pip install --no-deps megatron-core==",
        ),
        ({"mbridge": "0.15.1"}, "needs megatron-core 0.16.1, which is not installed", "pip install --no-deps megatron"),
        (MEGATRON, "on GPUs needs transformer-engine", "NVTE_BUILD_USE_NVIDIA_WHEELS=1 pip install --no-build-"),
    ],
)
def test_a_megatron_that_the_backend_refuses_is_a_note(installed, versions, says, remedy):
    installed(False, versions)
    problem = only(doctor.check_megatron())
    assert says in problem.what and problem.remedy.startswith(remedy) and not problem.fatal


def test_a_missing_package_ends_with_status_1(tmp_path):
    """A host that cannot be imported, for real: an openrlhf without contents comes first on the path."""
    (tmp_path / "openrlhf").mkdir()
    (tmp_path / "openrlhf" / "__init__.py").write_text("")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    process = subprocess.run(DOCTOR, capture_output=True, text=True, timeout=100, env=environment)
    assert process.returncode == 1, process.stderr
    named = [line for line in process.stdout.splitlines() if line.startswith("PROBLEM: openrlhf 0.11.2 has no usable ")]
    assert named
    assert all(line.endswith(" -> pip install openrlhf==0.11.2") for line in named)
    assert "a run cannot work" in process.stdout.splitlines()[-1]


def test_too_little_memory_and_a_full_disk(monkeypatch):
    monkeypatch.setattr(free_memory, "available_memory", lambda: 1 * GIB)
    monkeypatch.setattr(machine, "disk", lambda path: (1 * GIB, 0.99))
    found = problems(doctor.check_resources)
    assert found["1.0 GiB of memory are available, the smallest run takes 4"].fatal
    assert found["the disk of /tmp is 99% full, Ray stores nothing above 95%"].fatal


def test_a_small_shared_memory_is_a_note(monkeypatch):
    monkeypatch.setattr(machine, "disk", lambda path: (GIB // 16, 0.5))
    problem = only(doctor.check_resources())
    assert "/dev/shm" in problem.what and not problem.fatal and "--shm-size" in problem.remedy


def test_memory_is_that_of_the_control_group(tmp_path, monkeypatch):
    """Less the pages of files, which the kernel takes back."""
    assert 0 < free_memory.available_memory() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(free_memory, "GROUP", tmp_path)
    machine_has = free_memory.available_memory()  # there is no group in this folder
    for name, text in {
        "memory.max": "3000",
        "memory.current": "2500",
        "memory.stat": "anon 1\ninactive_file 700",
    }.items():
        (tmp_path / name).write_text(text + "\n")
    assert free_memory.available_memory() == 1200
    (tmp_path / "memory.current").write_text("4000\n")
    assert free_memory.available_memory() == 0
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory.available_memory() == pytest.approx(machine_has, rel=0.1)


def _hold(lock: str, ready) -> None:
    descriptor = os.open(lock, os.O_CREAT | os.O_EXCL)  # as torch's FileBaton
    ready.set()
    time.sleep(60)
    os.close(descriptor)


def test_a_lock_is_stale_when_its_builder_was_killed(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    folder = tmp_path / "py311_cpu" / "fused_adam"
    folder.mkdir(parents=True)
    context = forkserver.context()
    ready = context.Event()
    builder = context.Process(target=_hold, args=(str(folder / "lock"), ready))
    builder.start()
    assert ready.wait(30)
    assert report(doctor.check_locks())[1] == []

    builder.kill()
    builder.join()
    for cpu_mode in (True, False):
        monkeypatch.setattr(doctor, "_cpu_mode", lambda cpu_mode=cpu_mode: cpu_mode)
        problem = only(doctor.check_locks())
        assert problem.remedy == f"rm {folder / 'lock'}"
        # Without a GPU nothing is built, so nothing waits.
        assert problem.fatal is not cpu_mode


def test_leftover_processes_are_listed_with_pid_and_age():
    code = "import setproctitle, time; setproctitle.setproctitle('ray::PolicyModelActor.fit'); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        time.sleep(1)
        found = {entry.pid: entry for entry in machine.leftover_processes()}
        assert found[process.pid].name == "ray::PolicyModelActor.fit"
        assert 1 <= found[process.pid].age_seconds < 60
        assert str(process.pid) in only(doctor.check_processes()).remedy
    finally:
        process.kill()
        process.wait()


def test_a_torch_for_gpus_without_one(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    problem = only(doctor.check_device())
    assert problem.fatal and "none is visible" in problem.what
    # The node that submits a job needs none.
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    problem = only(doctor.check_device())
    assert not problem.fatal


def test_every_problem_says_what_to_do(monkeypatch, capsys):
    planted = [doctor.Problem("a", "do b"), doctor.Problem("c", "do d", fatal=False)]
    monkeypatch.setattr(doctor, "CHECKS", (lambda: iter(["fact", *planted]),))
    assert doctor.main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["fact", "", "PROBLEM: a -> do b", "note: c -> do d", "1 problem(s): a run cannot work"]
    monkeypatch.setattr(doctor, "CHECKS", (lambda: iter(["fact", *planted[1:]]),))
    assert doctor.main([]) == 0
