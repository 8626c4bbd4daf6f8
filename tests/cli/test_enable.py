"""`deltal enable` in a real, empty virtual environment: which starts of Python it redirects, and which not."""

import os
import site
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

from deltal_openrlhf.cli import disable, enable
from deltal_openrlhf.standins.redirect import HOST_MODULE, OUR_MODULE, redirected

PACKAGE = Path(enable.__file__).parents[1]
# Says which module runs, with which arguments, and under which options of the interpreter.
REPORT = "import sys; print('{name}', sys.argv[1:], sys.flags.utf8_mode, sys.flags.optimize); sys.exit(7)\n"


class Environment:
    """A virtual environment with stubs of the two modules, and the real command that enables."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        self.packages = next(folder.glob("lib/python*/site-packages"))
        self.folder = folder
        for module, name in ((HOST_MODULE, "host"), (OUR_MODULE, "ours")):
            path = self.packages / (module.replace(".", "/") + ".py")
            path.parent.mkdir(parents=True)
            path.write_text(REPORT.format(name=name))
        (self.packages / "deltal_openrlhf" / "__init__.py").symlink_to(PACKAGE / "__init__.py")
        for name in ("runs", "standins", "cli"):
            (self.packages / "deltal_openrlhf" / name).symlink_to(PACKAGE / name)
        metadata = self.packages / "deltal_openrlhf-0.1.0.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text("Metadata-Version: 2.1\nName: deltal-openrlhf\nVersion: 0.1.0\n")

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        command = [str(self.python), *arguments]
        variables = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
        return subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=self.folder, env=variables)

    def deltal(self, command: str) -> subprocess.CompletedProcess:
        return self.run("-m", "deltal_openrlhf.cli.main", command)


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Environment:
    return Environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture
def enabled(environment):
    assert environment.deltal("enable").returncode == 0
    yield environment
    environment.deltal("disable")


ARGUMENTS = ["--loss_agg", "deltal", "--note", f"a b -m {HOST_MODULE}", HOST_MODULE]


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        (["-m", HOST_MODULE], "0 0"),
        (["-u", "-m", HOST_MODULE], "0 0"),
        (["-um", HOST_MODULE], "0 0"),
        ([f"-m{HOST_MODULE}"], "0 0"),
        ([f"-Om{HOST_MODULE}"], "0 1"),
        (["-X", "utf8", "-Wignore", "-O", "-m", HOST_MODULE], "1 1"),
    ],
    ids=["-m", "-u -m", "-um", "-mNAME", "-OmNAME", "-X -W -O -m"],
)
def test_the_stock_command_is_ours(enabled, options, flags):
    process = enabled.run(*options, *ARGUMENTS)
    assert process.stdout == f"ours {ARGUMENTS} {flags}\n"
    assert (process.returncode, process.stderr) == (7, "")


@pytest.mark.parametrize(
    "command",
    [
        ["-c", "import sys; print('other', sys.argv[1:])", "-m", HOST_MODULE],
        ["other.py", "-m", HOST_MODULE],
        ["-m", "other", "-m", HOST_MODULE],
        ["-m", "other", HOST_MODULE],
        ["-mother", HOST_MODULE],
    ],
    ids=lambda command: command[0],
)
def test_nothing_else_is_redirected(enabled, command):
    (enabled.folder / "other.py").write_text("import sys; print('other', sys.argv[1:])\n")
    process = enabled.run(*command)
    assert process.stdout.startswith("other")
    assert (process.returncode, process.stderr) == (0, "")


def test_a_module_whose_name_ends_alike_is_not_redirected():
    command = ["python", "-m", "my" + HOST_MODULE, "--seed", "1"]
    assert redirected(command, ["-m", "--seed", "1"]) is None


def test_enable_and_disable_say_what_they_did_and_can_be_repeated(environment):
    assert environment.deltal("enable").stdout.startswith(
        "enabled: python -m openrlhf.cli.train_ppo_ray now takes --loss_agg"
    )
    assert environment.deltal("enable").stdout.startswith("already enabled by ")
    assert [path.name for path in environment.packages.glob("*.pth")] == ["deltal_openrlhf.pth"]
    assert environment.deltal("disable").stdout.startswith("disabled: removed ")
    assert environment.deltal("disable").stdout.startswith("not enabled: ")
    assert list(environment.packages.glob("*.pth")) + list(environment.packages.glob(".deltal*")) == []


def test_after_disable_the_stock_command_is_the_hosts(environment):
    environment.deltal("enable")
    environment.deltal("disable")
    process = environment.run("-m", HOST_MODULE, *ARGUMENTS)
    assert process.stdout == f"host {ARGUMENTS} 0 0\n"


@pytest.mark.parametrize("command", [enable, disable], ids=["enable", "disable"])
def test_a_folder_that_cannot_be_written_is_one_line(command, monkeypatch, capsys, tmp_path):
    # A file where the folder should be: a read-only folder does not stop root.
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(command, "pth_path", lambda: tmp_path / "file" / "deltal_openrlhf.pth")
    monkeypatch.setattr(enable, "is_enabled", lambda: False)
    assert command.main([]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    why = {enable: "File exists", disable: "Not a directory"}[command]  # the writer makes folders first
    assert f"file/deltal_openrlhf.pth: {why}" in lines[0]


def test_a_start_of_python_costs_less_than_a_millisecond(tmp_path):
    """What site does with the file in every start that is not ours."""
    (tmp_path / "deltal_openrlhf.pth").write_text(enable.LINE)
    start = time.perf_counter()
    for _ in range(100):
        site.addpackage(str(tmp_path), "deltal_openrlhf.pth", set())
    assert (time.perf_counter() - start) / 100 < 1e-3
    assert "deltal_openrlhf.standins.redirect" in sys.modules  # by this test, not by the line:
    code = "import sys; print('deltal_openrlhf' in sys.modules)"
    exec_line = f"exec({enable.LINE!r}); {code}"
    assert subprocess.run([sys.executable, "-Sc", exec_line], capture_output=True, text=True).stdout == "False\n"
