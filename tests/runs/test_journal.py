"""What two settings differ in, and who may write into a folder. Journals are tested with what they hold: tests/evaluation, diagnose."""

import errno
import subprocess
import sys

import pytest

from deltal_openrlhf.runs import journal
from deltal_openrlhf.runs.journal import begin, differences, is_begun, locked

FLAGS = {"seed": 0, "actor.max_norm": None}
SETTINGS = {
    "format": 1,
    "engine": "loop",
    "flags": FLAGS,
    "start": {"config.json": "aa", "model.safetensors": "bb"},
}


@pytest.mark.parametrize(
    ("earlier", "now", "said"),
    [
        ({}, {}, []),
        ({}, {"format": 2}, ["format 1, not 2"]),
        ({}, {"engine": "pipeline", "flags": {"seed": 1}}, ["--engine loop, not pipeline", "--seed 0, not 1"]),
        ({}, {"flags": FLAGS | {"actor.max_norm": 1.0, "x": 2}}, ["--actor.max_norm None, not 1.0", "--x None, not 2"]),
        ({}, {"start": {"config.json": "aa"}}, ["another starting point: model.safetensors is missing now"]),
        ({}, {"start": SETTINGS["start"] | {"x": "c"}}, ["another starting point: x is new"]),
        ({}, {"files": {"data": "a"}}, ["other contents: data is new"]),
        # Broken ones, and those of another kind.
        ({"flags": "x"}, {}, [f"--flags x, not {FLAGS}"]),
        ({"flags": 5}, {"flags": "x"}, ["--flags 5, not x"]),
        ({"files": "abc"}, {"files": {"data": "a"}}, ["--files abc, not {'data': 'a'}"]),
        ({"sets": [1]}, {"sets": {"s": "a"}}, ["--sets [1], not {'s': 'a'}"]),
        ({"files": None}, {"files": {}}, []),
        ({"files": {"data": None}}, {"files": {}}, []),
    ],
)
def test_differences_are_said_in_words(earlier, now, said):
    assert differences(SETTINGS | earlier, SETTINGS | now) == said


def test_a_folder_keeps_its_settings(tmp_path):
    folder = tmp_path / "out"
    assert not is_begun(folder, SETTINGS, "run")
    begin(folder, SETTINGS)
    assert is_begun(folder, SETTINGS, "run")
    with pytest.raises(ValueError) as error:
        is_begun(folder, SETTINGS | {"engine": "pipeline"}, "run")
    remedy = "take another --out, or remove it"
    assert str(error.value) == f"{folder}: the run there was begun with --engine loop, not pipeline; {remedy}"


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, capsys):
    def refuse(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(journal.fcntl, "lockf", refuse)
    with journal.locked(tmp_path, "comparison"):
        said = capsys.readouterr().err
    assert (
        said == f"{tmp_path / '.lock'}: no lock (No locks available), so that two runs in one folder are not noticed\n"
    )


def test_one_process_at_a_time(tmp_path):
    code = (
        "import sys; from pathlib import Path; from deltal_openrlhf.runs.journal import locked\n"
        f"with locked(Path({str(tmp_path)!r}), 'comparison'): print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "open\n"
        with pytest.raises(ValueError, match="another comparison is writing there"), locked(tmp_path, "comparison"):
            pass
        first.kill()
    with locked(tmp_path, "comparison"):
        pass
