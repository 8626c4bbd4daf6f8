"""How commands end, and what they say about a name that is not known."""

import os
import signal

import pytest

from deltal_openrlhf.runs.command import OneLineParser, nearest, run_command
from deltal_openrlhf.runs.packages import installed_version, installed_versions

KNOWN = ("rollout.temperature", "eval.temperature", "actor.adam.lr", "actor.lr_warmup_ratio", "actor.num_gpus_per_node")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("rollout.temperatur", "the nearest known one is 'rollout.temperature'"),
        ("temperature", "the nearest known ones are 'eval.temperature', 'rollout.temperature'"),
        ("actor.adam", "the nearest known one is 'actor.adam.lr'"),
        ("warmup", "the nearest known one is 'actor.lr_warmup_ratio'"),
        ("gpus", "the nearest known one is 'actor.num_gpus_per_node'"),
        ("--actor.adam.lrr", "the nearest known one is 'actor.adam.lr'"),
        ("zzzz", None),
    ],
)
def test_the_nearest_names(name, says):
    assert nearest(name, KNOWN) == says


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\nlines"), "two lines"),
        (FileNotFoundError(2, "No such file or directory", "a.json"), "a.json: No such file or directory"),
        (OSError("full"), "full"),
    ],
)
def test_bad_input_is_one_line(error, line, capsys):
    def work():
        raise error

    with pytest.raises(SystemExit) as stop:
        run_command(OneLineParser(prog="deltal x"), work)
    assert stop.value.code == 2 and capsys.readouterr().err == f"deltal x: error: {line}\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_says_how_to_resume(number, capsys, monkeypatch):
    handlers = {which: signal.getsignal(which) for which in (signal.SIGINT, signal.SIGTERM)}
    try:
        status = run_command(OneLineParser(prog="deltal x"), lambda: os.kill(os.getpid(), number) or signal.pause())
        assert signal.getsignal(signal.SIGTERM) is handlers[signal.SIGTERM]
    finally:
        signal.signal(signal.SIGINT, handlers[signal.SIGINT])
    assert status == 130
    assert capsys.readouterr().err == "deltal x: interrupted; the same command resumes where it stopped\n"


def test_versions_of_what_is_installed():
    assert installed_version("no-such-package") is None
    assert installed_versions("no-such-package", "pytest") == {"pytest": pytest.__version__}
