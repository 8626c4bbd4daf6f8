"""The wheel, built from the source archive and installed where there is no clone: commands, recipes and rewards from an empty folder."""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import deltal_openrlhf

pytestmark = pytest.mark.timeout(240)
ROOT = Path(__file__).parents[1]
SOURCES = ("deltal_openrlhf", "megatron_ext", "configs", "pyproject.toml", "setup.py", "README.md", "LICENSE")
DIST_INFO = f"deltal_openrlhf-{deltal_openrlhf.__version__}.dist-info"


def run(*command: object, cwd: Path) -> str:
    process = subprocess.run(
        list(map(str, command)), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=200
    )
    assert process.returncode == 0, process.stdout
    return process.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> tuple[Path, Path]:
    """Source archive and wheel, made without an index and with the tools that are installed."""
    folder = tmp_path_factory.mktemp("archives")
    sources = folder / "sources"
    sources.mkdir()
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, sources)
    run(
        sys.executable, "-c", f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})", cwd=sources
    )
    (archive,) = folder.glob("*.tar.gz")
    pip = (sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", folder, archive, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return archive, wheel


@pytest.fixture(scope="module")
def installed(archives, tmp_path_factory) -> Path:
    """bin/ of an environment that has the wheel, and everything else from this one, but not its editable install."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=folder)
    programs = folder / "venv" / "bin"
    pip = (sys.executable, "-m", "pip", "--python", programs / "python", "install", "--no-index", "--no-deps")
    run(*pip, "--no-compile", archives[1], cwd=folder)
    # A folder that a .pth file names is searched, its own .pth files, such as the editable install's, are not read.
    (site,) = (folder / "venv").glob("lib/python3*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return programs


@pytest.fixture
def here(tmp_path) -> Path:
    """An empty folder."""
    return tmp_path


def test_what_the_archives_hold(archives):
    archive, wheel = archives
    with tarfile.open(archive) as file:
        top = f"deltal_openrlhf-{deltal_openrlhf.__version__}/"
        sources = {name.removeprefix(top) for name in file.getnames()}
    names = set(zipfile.ZipFile(wheel).namelist())
    code = {path.relative_to(ROOT).as_posix() for room in SOURCES[:2] for path in (ROOT / room).rglob("*.py")}
    typed = {"deltal_openrlhf/py.typed", "megatron_ext/py.typed"}
    configs = {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.*")}
    assert len(configs) > 30
    assert code | typed | configs | {"LICENSE", "README.md", "pyproject.toml", "setup.py"} <= sources
    wanted = code | typed | {f"deltal_openrlhf/{name}" for name in configs} | {f"{DIST_INFO}/licenses/LICENSE"}
    assert wanted == {name for name in names if not re.fullmatch(rf"{DIST_INFO}/[^/]+", name)}


def test_what_is_imported_is_the_wheel(installed, here):
    code = "import deltal_openrlhf, megatron_ext, importlib.metadata as metadata"
    said = "deltal_openrlhf.__file__, megatron_ext.__file__, metadata.version('deltal-openrlhf')"
    ours, megatron, version = run(installed / "python", "-c", f"{code}; print({said}, sep='\\n')", cwd=here).split()
    assert all(Path(path).is_relative_to(installed.parent / "lib") for path in (ours, megatron))
    assert version == deltal_openrlhf.__version__


def test_commands_of_the_wheel(installed, here):
    deltal = installed / "deltal"
    assert "deltal train --config countdown-deltal" in run(deltal, "--help", cwd=here)
    assert run(deltal, "--version", cwd=here) == f"deltal {deltal_openrlhf.__version__}\n"
    recipes = run(deltal, "recipes", cwd=here)
    assert all(f"  {name} " in recipes for name in ("countdown-deltal", "overlays/megatron/7b", "compare/countdown"))
    recipe = (ROOT / "configs" / "overlays" / "8gpu.yaml").read_text(encoding="utf-8")
    assert run(deltal, "recipes", "overlays/8gpu", cwd=here) == recipe

    (here / "answers.jsonl").write_text('{"gold": "1/2", "pred": "0.5"}\n{"gold": "\\\\sqrt{4}", "pred": "3"}\n')
    run(deltal, "grade", "answers.jsonl", "--out", "graded.jsonl", cwd=here)
    graded = [json.loads(line) for line in (here / "graded.jsonl").read_text().splitlines()]
    assert [(row["equal"], row["status"]) for row in graded] == [(True, "equal"), (False, "different")]


def test_a_dry_run_of_a_shipped_recipe(installed, here):
    problem = {"input": "Make 3 of 1 and 2.", "label": json.dumps({"numbers": [1, 2], "target": 3})}
    (here / "data" / "countdown").mkdir(parents=True)
    for name in ("train", "test"):
        (here / "data" / "countdown" / f"{name}.jsonl").write_text(json.dumps(problem | {"datasource": name}) + "\n")
    said = run(installed / "deltal", "train", "--config", "countdown-deltal", "--dry_run", cwd=here)
    assert "∆L is active: alpha 1, scope step, M 8192" in said
    assert re.search(r"reward\.remote_url +deltal:countdown +countdown-deltal:\d+", said)
    assert sorted(path.name for path in here.iterdir()) == ["data"]


def test_the_math_reward_by_its_name(installed, here):
    code = """if True:
        from deltal_openrlhf.rewards.reward_file import load_reward_function
        reward = load_reward_function("--reward.remote_url", "deltal:math")
        print(reward(["2 + 2? \\\\boxed{4}", "2 + 2? \\\\boxed{5}"], ["2 + 2?"] * 2, ["4"] * 2)["rewards"].tolist())"""
    assert run(installed / "python", "-c", code, cwd=here) == "[1.0, 0.0]\n"
