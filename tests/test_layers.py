"""Imports run one way: import-linter's contracts in pyproject.toml hold, name every room, and see an import that goes up."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).parents[1]
PACKAGES = ("deltal_openrlhf", "megatron_ext")


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The sources of both packages, with the contract."""
    folder = tmp_path_factory.mktemp("copy")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def lint(folder: Path) -> subprocess.CompletedProcess:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def test_the_contracts_hold(copy):
    process = lint(copy)
    assert process.returncode == 0, process.stdout
    assert "2 kept, 0 broken" in process.stdout


@pytest.mark.parametrize(
    ("file", "line", "says"),
    [
        # At the top, in a function, and for types alone.
        ("deltal_openrlhf/host/rebind.py", "from megatron_ext import layout", "host.rebind -> megatron_ext.layout"),
        (
            "deltal_openrlhf/runs/files.py",
            "def f():\n    import deltal_openrlhf.host.settings",
            "runs.files -> deltal_",
        ),
        ("megatron_ext/layout.py", "if TYPE_CHECKING:\n    import deltal_openrlhf.train.flags", "layout -> deltal_"),
        # Rooms of one layer that stand side by side.
        ("deltal_openrlhf/grading/labels.py", "import deltal_openrlhf.runs.files", "grading.labels -> deltal_"),
        (
            "deltal_openrlhf/grading/values/tokens.py",
            "import deltal_openrlhf.grading.answers",
            "values.tokens -> deltal_",
        ),
        ("deltal_openrlhf/aggregation.py", "import deltal_openrlhf.arguments", "aggregation -> deltal_openrlhf."),
        # Other people's trainers get the aggregations, and nothing else of ours.
        ("deltal_openrlhf/adapters/weights.py", "import deltal_openrlhf.host.settings", "adapters.weights -> deltal_"),
    ],
)
def test_an_import_that_goes_up_is_seen(copy, file, line, says):
    path = copy / file
    text = path.read_text(encoding="utf-8")
    path.write_text(f"{text}\n{line}\n", encoding="utf-8")
    process = lint(copy)
    path.write_text(text, encoding="utf-8")
    assert process.returncode == 1
    assert says in process.stdout


def rooms(package: Path) -> set[str]:
    """Its modules and packages."""
    found = {path.with_suffix("").name for path in package.iterdir() if path.suffix == ".py"}
    return (found | {path.parent.name for path in package.glob("*/__init__.py")}) - {"__init__"}


def test_every_room_has_a_layer_and_nothing_is_excepted():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    assert [set(contract) for contract in contracts] == [{"name", "type", "layers"}] * 2
    house, grader = (re.findall(r"[\w.]+", " ".join(contract["layers"])) for contract in contracts)
    assert sorted(house) == sorted(
        {f"deltal_openrlhf.{name}" for name in rooms(ROOT / "deltal_openrlhf")} | {"megatron_ext"}
    )
    grading = ROOT / "deltal_openrlhf" / "grading"
    assert sorted(grader) == sorted(f"deltal_openrlhf.grading.{name}" for name in rooms(grading))
