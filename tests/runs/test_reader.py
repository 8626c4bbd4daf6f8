"""How commands end when the reader of their standard output has left: processes with a pipe that nobody reads."""

import os
import subprocess
import sys

import pytest

from deltal_openrlhf.runs.reader import READER_LEFT, reader_left, until_reader_leaves
from deltal_openrlhf.train.launch import _Run

HEAD = "import os, sys\nfrom deltal_openrlhf.runs.reader import until_reader_leaves\n"
COMMAND = "from deltal_openrlhf.runs.command import OneLineParser, run_command\n"


def ended(work: str, *, is_read: bool = False) -> subprocess.CompletedProcess:
    """`work`, an expression, as a command."""
    read, write = os.pipe()
    if not is_read:
        os.close(read)
    try:
        code = f"{HEAD}sys.exit(until_reader_leaves(lambda: {work}))"
        env = {**os.environ, "PYTHONUNBUFFERED": ""}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, env=env, timeout=60)
    finally:
        os.close(write)
        if is_read:
            os.close(read)


@pytest.mark.parametrize(
    ("work", "status"),
    [
        ("print('line')", READER_LEFT),  # written at the end only
        ("[print('line', flush=True), 1][1]", READER_LEFT),
        ("[print('line'), 1][1]", 1),
        ("[print('line'), sys.exit(2)]", 2),
        ("[print('line'), sys.exit()]", READER_LEFT),
    ],
)
def test_a_status_that_is_known_stays(work, status):
    process = ended(work)
    assert (process.returncode, process.stderr) == (status, "")


def test_a_command_that_names_its_errors_does_not_name_this_one():
    process = ended(f"[exec({COMMAND!r}, globals()), run_command(OneLineParser(), lambda: print(1, flush=True))]")
    assert (process.returncode, process.stderr) == (READER_LEFT, "")


def test_another_broken_pipe_is_an_error():
    process = ended("[pipe := os.pipe(), os.close(pipe[0]), os.write(pipe[1], b'x')]", is_read=True)
    assert process.returncode == 1 and "BrokenPipeError" in process.stderr


def test_a_training_command_says_nothing_before_it_trains(monkeypatch, capsys):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as output, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", output)
        assert until_reader_leaves(lambda: _Run().guarded(lambda: print("report", flush=True))) == READER_LEFT
    assert capsys.readouterr().err == ""


def test_without_a_file_behind_it_standard_output_has_a_reader(capsys):
    assert not reader_left(BrokenPipeError())
