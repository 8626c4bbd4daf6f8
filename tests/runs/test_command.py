"""How commands end, and what they say about a name that is not known."""

import os
import signal
from argparse import Namespace
from contextlib import nullcontext

import pytest

from deltal_openrlhf.runs.command import OneLineParser, check_numbers, nearest, nearest_flag, run_command
from deltal_openrlhf.runs.packages import installed_version, installed_versions

KNOWN = ("rollout.temperature", "eval.temperature", "actor.adam.lr", "actor.lr_warmup_ratio", "actor.num_gpus_per_node")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("rollout.temperatur", "the nearest known one is 'rollout.temperature'"),
        ("temperature", "the nearest known ones are 'eval.temperature', 'rollout.temperature'"),
        ("actor.adam", "the nearest known one is 'actor.adam.lr'"),
        ("actor.lr", "the nearest known one is 'actor.adam.lr'"),  # not actor.lr_warmup_ratio
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


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"n": 0}, "--n is 0, allowed is 1 or more"),
        ({"n": float("inf")}, "--n is inf, allowed is 1 or more"),
        ({"t": 0.0}, "--t is 0.0, allowed is a number above 0"),
        ({"t": float("nan")}, "--t is nan, allowed is a number above 0"),
        ({"p": 1.5}, "--p is 1.5, allowed is above 0 to 1"),
        ({"n": None, "t": 1e-9, "p": 1.0}, None),
    ],
)
def test_numbers_of_flags(flags, says):
    args = Namespace(**{"n": 1, "t": None, "p": None} | flags)
    with pytest.raises(ValueError, match=says) if says else nullcontext():
        check_numbers(args, {"n": 1}, positive=["t"], shares=["p"])


@pytest.mark.parametrize(
    ("number", "code", "how"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "interrupted by SIGTERM"),
        (signal.SIGUSR1, 143, "interrupted by SIGUSR1"),
    ],
)
def test_an_interrupted_command_says_how_to_resume(number, code, how, capsys):
    begun = []

    def work():
        begun.append(1)
        os.kill(os.getpid(), number)
        signal.pause()

    status = run_command(OneLineParser(prog="deltal x"), work, lambda: bool(begun))
    # A second signal leaves no process behind: it has no effect while the process ends.
    assert {signal.getsignal(which) for which in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)} == {signal.SIG_IGN}
    assert status == code
    assert capsys.readouterr().err == f"deltal x: {how}; the same command resumes where it stopped\n"


@pytest.mark.parametrize("name", ["actor.learning_rate", "actor.adam.learning_rate", "learning_rate"])
def test_the_learning_rate_of_hugging_face_is_known(name):
    assert nearest_flag(name, KNOWN, prefix="--") == "the nearest known one is '--actor.adam.lr'"


def test_a_command_that_ends_by_itself_leaves_the_signals_as_they_were():
    handlers = {which: signal.getsignal(which) for which in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    assert run_command(OneLineParser(prog="deltal x"), lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        run_command(OneLineParser(prog="deltal x"), lambda: 1 // 0)
    assert {which: signal.getsignal(which) for which in handlers} == handlers


def test_versions_of_what_is_installed():
    assert installed_version("no-such-package") is None
    assert installed_versions("no-such-package", "pytest") == {"pytest": pytest.__version__}


def test_a_command_that_had_done_nothing_does_not_speak_of_resuming(capsys):
    def work():
        raise KeyboardInterrupt

    for begun in (None, lambda: False):
        assert run_command(OneLineParser(prog="deltal x"), work, begun) == 130
        assert capsys.readouterr().err == "deltal x: interrupted; nothing was done\n"


def test_help_wraps_paragraphs_and_keeps_commands(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    words = "A paragraph that is longer than the forty columns of this terminal."
    OneLineParser(prog="deltal x", description=words, epilog=f"{words}\n\n  deltal x --a  # {words}").print_help()
    shown = capsys.readouterr().out.splitlines()
    assert f"  deltal x --a  # {words}" in shown and max(len(line) for line in shown[:-1]) <= 40


def parser() -> OneLineParser:
    made = OneLineParser(prog="deltal x")
    made.add_argument("--dry_run", action="store_true")
    made.add_argument("--out_dir", required=True)
    made.add_argument("--old-name", dest="old")
    made.add_argument("words", nargs="*")
    return made


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--dry-run", "--out-dir", "a-b"], Namespace(dry_run=True, out_dir="a-b", old=None, words=[])),
        (["--out-dir=--c-d"], Namespace(dry_run=False, out_dir="--c-d", old=None, words=[])),
        (["--out_dir", "--dry-run is off"], Namespace(dry_run=False, out_dir="--dry-run is off", old=None, words=[])),
        (["--out_dir", "o", "--old-name", "n"], Namespace(dry_run=False, out_dir="o", old="n", words=[])),
        (["--out_dir", "o", "--", "--dry-run"], Namespace(dry_run=False, out_dir="o", old=None, words=["--dry-run"])),
    ],
)
def test_hyphens_are_taken_in_flags_and_left_in_values(words, wanted):
    assert parser().parse_args(words) == wanted


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--out_dir", "o", "--dry-rn"], "unrecognized arguments: --dry-rn; the nearest known one is '--dry_run'"),
        # The missing flag is there, misspelt.
        (["--outdir", "o"], "unrecognized arguments: --outdir; the nearest known one is '--out_dir'"),
        (["--dry_run"], "the following arguments are required: --out_dir"),
        (["--out_dir", "o", "--zzzz"], "unrecognized arguments: --zzzz"),
    ],
)
def test_an_unknown_flag_gets_the_nearest_one(words, says, capsys):
    with pytest.raises(SystemExit) as stop:
        parser().parse_args(words)
    assert stop.value.code == 2 and capsys.readouterr().err == f"deltal x: error: {says}\n"


def test_flags_of_subcommands_are_known_too(capsys):
    top = OneLineParser(prog="deltal y")
    top.add_subparsers(dest="task").add_parser("one").add_argument("--skip_bad", action="store_true")
    assert top.parse_args(["one", "--skip-bad"]).skip_bad
    with pytest.raises(SystemExit):
        top.parse_args(["one", "--skipbad"])
    assert capsys.readouterr().err.endswith(
        "unrecognized arguments: --skipbad; the nearest known one is '--skip_bad'\n"
    )
