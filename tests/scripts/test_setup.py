"""scripts/setup.sh, with Pythons that only write down what they are asked to install, and a simulated GPU; test.sh and the Dockerfile."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
TOOLS = "bash cat chmod cut dirname env flock grep ln mkdir printf rm sha256sum sh tail touch".split()


def program(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def python(folder: Path, name: str, version: str, calls: Path) -> Path:
    """A Python whose venv has a Python that only writes down what it is asked to install, and fails where $FAIL_AT is named."""
    inner = f'case "$*" in *"$FAIL_AT"*) exit 1;; "-c "*) echo {version}; exit;; esac; echo "$*" >> {calls}'
    quoted = "'" + inner.replace("'", "'\\''") + "'"
    make = f'mkdir -p "$3/bin"; printf "#!/bin/sh\\n%s\\n" {quoted} > "$3/bin/python"; chmod +x "$3/bin/python"'
    return program(folder, name, f'case "$1" in -c) echo {version};; -m) {make};; esac')


class Machine:
    """A folder with an environment to be made, and what is on PATH."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.venv, self.calls = folder / "bin", folder / "venv", folder / "calls"
        self.toolkit = self.venv / "lib" / "python3.12" / "site-packages" / "nvidia" / "cu13" / "lib"
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))

    def python(self, name: str, version: str) -> Path:
        return python(self.bin, name, version, self.calls)

    def gpu(self) -> None:
        program(self.bin, "nvidia-smi", "echo GPU 0")

    def setup(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        environment = {"PATH": str(self.bin), "DELTAL_VENV": str(self.venv), "FAIL_AT": "nowhere", **variables}
        command = [str(self.bin / "bash"), str(SCRIPTS / "setup.sh"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)

    def installed(self) -> list[str]:
        """What was asked of the environment's Python since the last time."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return lines


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def with_gpu(machine) -> Machine:
    machine.gpu()
    machine.python("python3", "3.12")
    machine.toolkit.mkdir(parents=True)
    for library in ("libcudart.so.13", "libcurand.so.10"):
        (machine.toolkit / library).write_text(library)
    return machine


def stages(text: str) -> list[str]:
    return re.findall(r"^setup: (\S+) \.\.\.", text, re.M)


# ── Without a GPU ──


def test_it_goes_on_where_it_stopped_and_does_nothing_when_done(machine):
    machine.python("python3", "3.11")
    stopped = machine.setup(FAIL_AT="deepspeed==")
    assert stopped.returncode == 1
    assert "setup: deepspeed failed" in stopped.stderr and "run this script again" in stopped.stderr
    assert stages(stopped.stdout) == ["venv", "torch", "build-tools", "packages", "deepspeed"]
    machine.installed()

    goes_on = machine.setup()
    assert goes_on.returncode == 0, goes_on.stderr
    installed = machine.installed()
    assert "deepspeed==0.19.6" in installed[0] and "--no-build-isolation" in installed[0]
    assert not any("torch==" in line or "requirements" in line for line in installed)

    again = machine.setup()
    assert (again.returncode, again.stdout) == (0, f"setup: {machine.venv} is complete\n")
    assert machine.installed() == []


@pytest.mark.parametrize("version", ["3.11", "3.12"])
def test_what_a_killed_pip_left_half_copied_is_dropped(machine, version):
    machine.python("python3", version)
    packages = machine.venv / "lib" / f"python{version}" / "site-packages"
    for name, files in {"half": ["METADATA"], "whole": ["METADATA", "INSTALLER"]}.items():
        folder = packages / f"{name}-1.0.dist-info"
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).write_text("")
    process = machine.setup()
    assert process.returncode == 0, process.stderr
    assert [path.name for path in packages.iterdir()] == ["whole-1.0.dist-info"]


@pytest.mark.parametrize("kind", ["CPU", "GPU that is not to be used"])
def test_the_cpu_environment_has_the_cpus_packages_alone(machine, kind):
    machine.python("python3", "3.12")
    if kind != "CPU":
        machine.gpu()
    assert machine.setup(DELTAL_SETUP_CPU="1" if kind != "CPU" else "").returncode == 0
    installed = machine.installed()
    assert "torch==2.13.0+cpu" in installed[0]
    assert [line for line in installed if "requirements-cpu.txt" in line] and "requirements-gpu" not in str(installed)


# ── Which Python ──


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        ({"python3": "3.12"}, "python3"),
        ({"python3": "3.10", "python3.12": "3.12"}, "python3.12"),
        ({"python3": "3.13", "python3.11": "3.11", "python3.12": "3.12"}, "python3.11"),
        # A shim of a version that is not installed: it says nothing.
        ({"python3.11": "", "python3.12": "3.12"}, "python3.12"),
    ],
)
def test_a_fitting_python_is_found(machine, there, taken):
    for name, version in there.items():
        machine.python(name, version)
    process = machine.setup("--dry-run")
    assert f"  python        {machine.bin / taken} ({there[taken]})\n" in process.stdout, process.stderr


@pytest.mark.parametrize("version", ["3.10", "3.13"])
def test_another_python_is_refused(machine, version):
    other = machine.python("python3", version)
    for process in (machine.setup(), machine.setup(PYTHON=str(other))):
        assert (process.returncode, len(process.stderr.splitlines())) == (1, 1)
        assert f"setup: {other} is not Python 3.11 or 3.12" in process.stderr
    assert not machine.venv.exists()


def test_the_environments_own_python_is_taken_again(machine):
    machine.python("python3", "3.12")
    assert machine.setup().returncode == 0
    machine.python("python3.11", "3.11")
    assert "is complete" in machine.setup().stdout


@pytest.mark.parametrize("change", ["python", "kind"])
def test_an_environment_that_was_made_for_another_machine_is_left_alone(machine, change):
    machine.python("python3", "3.12")
    assert machine.setup().returncode == 0
    machine.installed()
    if change == "kind":
        machine.gpu()
        process, now = machine.setup(), "gpu 3.12"
    else:
        process, now = machine.setup(PYTHON=str(machine.python("python3.11", "3.11"))), "cpu 3.11"
    assert process.returncode == 1
    assert process.stderr.startswith(
        f"setup: {machine.venv} was made for cpu 3.12, now it would be {now}; remove it, or set"
    )
    assert machine.installed() == []


def test_an_environment_from_before_the_kind_was_written_is_one_of_a_cpu(machine):
    (machine.venv / ".setup").mkdir(parents=True)
    machine.python("python3", "3.12")
    assert "was made for cpu 3.11" in machine.setup().stderr
    machine.python("python3", "3.11")
    assert machine.setup().returncode == 0


# ── With a GPU ──


def test_the_plan_of_a_gpu_machine_is_printed_and_nothing_done(with_gpu):
    process = with_gpu.setup("--dry-run", "--flash-attn", "--transformer-engine")
    assert (process.returncode, process.stderr) == (0, "")
    assert re.search(r"machine +gpu\n", process.stdout)
    assert re.search(r"requirements +scripts/requirements-gpu.txt, 2\d\d packages\n", process.stdout)
    assert re.search(r"disk +about \d+ GB", process.stdout)
    planned = "venv torch build-tools packages project cuda-toolkit flash-attn transformer-engine".split()
    assert re.findall(r"^stage (\S+)$", process.stdout, re.M) == planned
    assert "-c " + str(SCRIPTS / "requirements-gpu.txt") + " torch==2.13.0\n" in process.stdout
    assert [path.name for path in with_gpu.venv.iterdir()] == ["lib"]
    assert not (with_gpu.toolkit / "libcudart.so").exists()
    assert with_gpu.installed() == []


def test_torch_comes_before_what_is_built_with_it_and_nothing_is_compiled_unasked(with_gpu):
    process = with_gpu.setup()
    assert process.returncode == 0, process.stderr
    torch, tools, packages, project = with_gpu.installed()
    assert torch.endswith("requirements-gpu.txt torch==2.13.0") and "--no-deps" not in torch
    assert "setuptools==" in tools
    assert "--no-deps --no-build-isolation -r" in packages and packages.endswith("requirements-gpu.txt")
    assert project.endswith(f"-e {ROOT}")
    # A linker finds the libraries of the CUDA packages.
    found = [with_gpu.toolkit.parent / "lib64" / f"lib{name}.so" for name in ("cudart", "curand")]
    assert [path.read_text() for path in found] == ["libcudart.so.13", "libcurand.so.10"]
    assert "flash-attn" not in packages + (SCRIPTS / "requirements-gpu.txt").read_text()


def test_what_is_built_can_be_added_later(with_gpu):
    assert with_gpu.setup().returncode == 0
    with_gpu.installed()
    added = with_gpu.setup("--transformer-engine")
    assert stages(added.stdout) == ["transformer-engine"]
    (line,) = with_gpu.installed()
    assert "--no-build-isolation transformer-engine[pytorch]==" in line
    for arguments in (["--transformer-engine"], []):
        assert with_gpu.setup(*arguments).stdout == f"setup: {with_gpu.venv} is complete\n"
    assert stages(with_gpu.setup("--flash-attn").stdout) == ["flash-attn"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--flash-attn"],
            "setup: --flash-attn: for the GPU environment only, and this is the CPU one "
            "(nvidia-smi -L lists no GPU, or DELTAL_SETUP_CPU is set)\n",
        ),
        (
            ["--flash"],
            "setup: unknown argument --flash, allowed are --dry-run, --flash-attn and --transformer-engine\n",
        ),
    ],
)
def test_what_cannot_be_asked_for_is_refused(machine, arguments, says):
    machine.python("python3", "3.12")
    process = machine.setup(*arguments)
    assert (process.returncode, process.stderr) == (2, says)
    assert not machine.venv.exists()


# ── The scripts around it ──


def test_test_sh_runs_in_the_environment_that_setup_made(tmp_path):
    """A complete environment whose Python prints its arguments."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    shutil.copy(SCRIPTS / "test.sh", scripts)
    (scripts / "setup.sh").write_text("echo set up")
    program(tmp_path / "elsewhere", "bin", "")  # a folder of its own
    (tmp_path / "elsewhere" / "bin").unlink()
    program(tmp_path / "elsewhere" / "bin", "python", 'echo "$@"')
    environment = {**os.environ, "DELTAL_VENV": str(tmp_path / "elsewhere")}
    command = ["bash", str(scripts / "test.sh"), "tests/test_x.py", "-q"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert process.stdout == "set up\n-m pytest tests/test_x.py -q\n", process.stderr


def test_git_and_ruff_pass_over_an_environment_of_any_name(machine):
    machine.python("python3", "3.12")
    assert machine.setup().returncode == 0
    environment = machine.venv.rename(machine.venv.with_name("environment"))  # ruff knows the name `venv`
    (environment / "lib.py").write_text("import os\n")
    folder = environment.parent
    subprocess.run(["git", "init", "-q", folder], check=True)
    listed = subprocess.run(["git", "status", "--short"], cwd=folder, capture_output=True, text=True, check=True)
    assert "bin/" in listed.stdout and "environment" not in listed.stdout
    ruff = [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "F", "."]
    assert subprocess.run(ruff, cwd=folder).returncode == 0
    (environment / ".gitignore").unlink()
    assert subprocess.run(ruff, cwd=folder).returncode == 1


def test_the_dockerfile_takes_the_same_steps(machine):
    """Its setup command, on a machine where no GPU is seen, as while an image is built."""
    text = (SCRIPTS / "Dockerfile").read_text(encoding="utf-8")
    # torch 2.13.0 is built for CUDA 13.0.
    assert re.search(r"^FROM nvidia/cuda:13\.0\.\d-devel-ubuntu24\.04$", text, re.M)
    assert "\nCOPY . .\n" in text and "pip install" not in text
    assert ".venv*\n" in (SCRIPTS / "Dockerfile.dockerignore").read_text(encoding="utf-8")
    assert "PATH=/opt/venv/bin:$PATH" in text and "DELTAL_VENV=/opt/venv" in text
    (variable,) = re.findall(r"^ENV .* (\w+=1)$", text, re.M)
    (script,) = re.findall(r"^RUN bash (\S+)", text, re.M)
    assert ROOT / script == SCRIPTS / "setup.sh"
    machine.python("python3", "3.12")
    machine.toolkit.mkdir(parents=True)
    assert machine.setup(**dict([variable.split("=")])).returncode == 0
    assert "requirements-gpu.txt" in machine.installed()[0]
