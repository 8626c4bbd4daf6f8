"""`deltal` itself: its help, its version, what it says about a word that is no command or flag, and the help of each command."""

import importlib
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deltal_openrlhf import __version__
from deltal_openrlhf.cli.main import COMMANDS, help_text, main
from deltal_openrlhf.runs import packages, shipped

WITH_PARSER = [name for name in COMMANDS if name != "train"]
"""`deltal train` has OpenRLHF's own parser."""


def test_the_help_fits_a_terminal_names_every_command_and_an_example():
    lines = help_text().splitlines()
    assert len(lines) <= 23 and max(map(len, lines)) <= 80
    assert set(re.findall(r"^  ([\w-]+)(?:, ([\w-]+))?  ", help_text(), re.MULTILINE)) == {
        (name, "disable" if name == "enable" else "") for name in COMMANDS if name != "disable"
    }
    assert lines[-1].startswith("example: deltal train --config countdown-deltal ")


@pytest.mark.parametrize(
    ("words", "status", "out", "err"),
    [
        ([], 2, "usage: deltal COMMAND", ""),
        (["--help"], 0, "usage: deltal COMMAND", ""),
        (["--version"], 0, f"deltal {__version__}\n", ""),
        (["tarin"], 2, "", "deltal: unknown command 'tarin'; the nearest known one is 'train'\n"),
        (["serve"], 2, "", "deltal: unknown command 'serve'; the nearest known one is 'serve-rewards'\n"),
        (["xyzzy"], 2, "", "deltal: unknown command 'xyzzy'; `deltal --help` lists them\n"),
    ],
)
def test_words_that_are_no_command(words, status, out, err, capsys):
    assert main(words) == status
    said = capsys.readouterr()
    assert said.out.startswith(out) and said.err == err


def test_the_help_imports_nothing_of_a_run():
    """So that it takes a tenth of a second."""
    code = "import sys; from deltal_openrlhf.cli.main import main; main(['--help']); print(sorted(sys.modules))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    modules = process.stdout.splitlines()[-1]
    assert not {"torch", "yaml", "argparse"} & set(re.findall(r"'(\w+)'", modules))


@pytest.mark.parametrize("name", WITH_PARSER)
def test_the_help_of_a_command_fits_two_screens_and_ends_with_an_example(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    parser = importlib.import_module(COMMANDS[name].module).parser()
    lines = parser.format_help().splitlines()
    assert parser.prog == f"deltal {name}"
    assert len(lines) <= 60 and max(map(len, lines)) <= 82
    assert re.match(r"  (.* && )?deltal|      --", lines[-1])
    flags = [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]
    assert [flag for flag in flags if "-" in flag[2:]] == []


@pytest.mark.parametrize("name", [name for name in WITH_PARSER if name != "data"])
def test_a_misspelt_flag_gets_the_nearest_one(name, capsys):
    parser = importlib.import_module(COMMANDS[name].module).parser()
    flag = max((flag for action in parser._actions for flag in action.option_strings), key=len)
    with pytest.raises(SystemExit) as stop:
        parser.parse_args([f"{flag}x"])
    said = f"deltal {name}: error: unrecognized arguments: {flag}x; the nearest known one is '{flag}'\n"
    assert stop.value.code == 2 and capsys.readouterr().err == said


def test_deltal_data_knows_the_flags_of_its_tasks(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["data", "math", "--out", str(tmp_path), "--max-prompt-token", "9"])
    assert "the nearest known one is '--max_prompt_tokens'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["data", "math"])
    assert capsys.readouterr().err == "deltal data math: error: the following arguments are required: --out\n"


def test_recipes_are_listed_and_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["recipes"]) == 0
    listed = capsys.readouterr().out
    for name in ("countdown-deltal ", "overlays/megatron/7b ", "compare/countdown ", "models/qwen2.5-7b"):
        assert f"\n  {name}" in listed
    assert "math-deltal                        Math. ∆L normalization with alpha 0.75\n" in listed
    assert main(["recipes", "math-deltal"]) == 0
    printed = capsys.readouterr().out
    assert "\nreward.remote_url: deltal:math\n" in printed
    with pytest.raises(SystemExit) as stop:
        main(["recipes", "math-detal"])
    assert stop.value.code == 2 and capsys.readouterr().err.endswith("the nearest known one is 'math-deltal'\n")


@pytest.mark.parametrize("module", ["deltal_openrlhf.quickstart", "megatron_ext.planning", "megatron_ext.parity"])
def test_commands_have_no_second_name(module):
    process = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, timeout=60)
    assert process.returncode == 1 and "cannot be directly executed" in process.stderr


@pytest.mark.parametrize("words", [["recipes", "math-deltal"], ["recipes", "--help"], ["--help"]])
def test_a_reader_that_stops_early_sees_no_traceback(words):
    command = [sys.executable, "-m", "deltal_openrlhf.cli.main", *words]
    env = {**os.environ, "PYTHONUNBUFFERED": ""}  # unbuffered, argparse hides that its help was not written
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        process.stdout.close()
        assert (process.wait(60), process.stderr.read()) == (141, "")


HELPS = """
import importlib.metadata as metadata, os, sys, sysconfig
from packaging.requirements import Requirement

def with_own_requirements(name, found):
    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        if (not requirement.marker or requirement.marker.evaluate({"extra": ""})) and requirement.name not in found:
            try:
                found[requirement.name] = metadata.distribution(requirement.name)
            except metadata.PackageNotFoundError:  # such as CUDA's, for a torch without it
                continue
            with_own_requirements(requirement.name, found)
    return found

def top_levels(names):
    return {name.partition(".")[0] for name in names}

class Blocker:
    installed = top_levels(os.listdir(sysconfig.get_path("purelib"))) - {"deltal_openrlhf"}  # `deltal enable` writes a .pth of that name
    base = top_levels(file.parts[0] for one in with_own_requirements("deltal-openrlhf", {}).values() for file in one.files)

    def find_spec(self, name, path=None, target=None):
        package = name.partition(".")[0]
        if package in self.installed - self.base:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
for name in ("transformers", "ray", "math_verify", "matplotlib"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    sys.exit(f"{name} is not blocked")
from deltal_openrlhf.cli.main import main
for name in sys.argv[1:]:
    try:
        main([name, "--help"])
    except SystemExit as stop:
        assert stop.code == 0, name
print(*main.__globals__["sys"].modules)
"""


def test_every_help_needs_only_what_pip_installs_without_an_extra():
    """And none imports torch, which takes seconds."""
    process = subprocess.run([sys.executable, "-c", HELPS, *WITH_PARSER], capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("usage: deltal ") == len(WITH_PARSER)
    assert "torch" not in process.stdout.splitlines()[-1].split()


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("math_verify", "pip install 'deltal-openrlhf[rewards]'"),
        ("scipy.stats", "pip install 'deltal-openrlhf[plots]'"),
        ("psutil", "pip install psutil"),
        ("yaml", "pip install pyyaml"),
        ("transformers", "bash scripts/setup.sh in a clone makes the environment that this machine needs"),
    ],
)
def test_a_missing_package_is_one_line_with_its_extra(module, says, monkeypatch, capsys):
    def run(argv):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr("deltal_openrlhf.cli.recipes.main", run)
    assert main(["recipes"]) == 2
    assert capsys.readouterr().err == f"deltal recipes: error: {module} is not installed: {says}\n"


def test_a_missing_module_of_no_extra_is_a_fault(monkeypatch):
    def run(argv):
        raise ModuleNotFoundError("No module named 'deltal_openrlhf.gone'", name="deltal_openrlhf.gone")

    monkeypatch.setattr("deltal_openrlhf.cli.recipes.main", run)
    with pytest.raises(ModuleNotFoundError):
        main(["recipes"])


def test_the_extras_bring_the_modules_that_are_said_to_come_with_them():
    for extra, names in packages.EXTRAS.items():
        brings = {
            canonicalize_name(requirement.name)
            for requirement in map(Requirement, metadata.requires("deltal-openrlhf"))
            if requirement.marker and requirement.marker.evaluate({"extra": extra})
        }
        # The module megatron is one of megatron-core.
        missing = {name for name in map(canonicalize_name, names) if not brings & {name, f"{name}-core"}}
        assert not missing, extra


def test_what_the_package_depends_on_has_its_line():
    needed = {
        requirement.name
        for requirement in map(Requirement, metadata.requires("deltal-openrlhf"))
        if not requirement.marker or requirement.marker.evaluate({"extra": ""})
    }
    assert {*packages.BASE.values(), "torch"} == needed


def test_every_shipped_file_is_listed(capsys):
    main(["recipes"])
    listed = re.findall(r"^  (\S+)", capsys.readouterr().out, re.MULTILINE)
    assert sorted(listed) == sorted(shipped.names())
    configs = Path(__file__).parents[2] / "configs"
    assert len(listed) == sum(path.is_file() for path in configs.rglob("*"))
