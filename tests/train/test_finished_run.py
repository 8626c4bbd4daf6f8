"""The command of a run that has ended, given again: it says so, starts nothing and ends with 0."""

from argparse import Namespace

import pytest
from support.host_arguments import host_arguments

from deltal_openrlhf.host import finished, remote_code
from deltal_openrlhf.host.whole_checkpoints import Choice
from deltal_openrlhf.train import launch, start

FLAGS = "--train.num_episodes 2 --loss_agg deltal".split()


@pytest.fixture
def command(tmp_path, monkeypatch):
    """command(*flags): check_flags of a run in this folder, with a checkpoint of step 7; the flags of FLAGS were checked before."""
    folder = tmp_path / "ckpt" / "_actor"
    folder.mkdir(parents=True)
    (folder / "latest").write_text("global_step7")
    monkeypatch.setenv(remote_code.VARIABLE, "0")

    def checked(*flags):
        where = "--ckpt.path", str(tmp_path / "ckpt"), "--ckpt.output_dir", str(tmp_path / "out")
        args = host_arguments(*FLAGS, *where, *flags)
        args.deltal.resumed = None
        choice = Choice("global_step7", (), True) if args.ckpt.load_enable else None
        return start.Start(args, None, None, None, False, [], choice, None)

    def run(*flags):
        made = checked(*flags)
        monkeypatch.setattr(start, "check", lambda *given: made)
        monkeypatch.setattr(start.Start, "lines", lambda self: ["begins"])
        launch._Run().check_flags(Namespace(**{"deltal.trust_remote_code": False, "dry_run": False}))

    finished.mark(checked().args)
    (tmp_path / "out" / "config.json").touch()
    return run


def test_it_ends_at_once(command, capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        command("--ckpt.load_enable")
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"deltal train: this run has ended, its model is in {tmp_path / 'out'}: nothing was done; ")
    assert "begins" not in said


@pytest.mark.parametrize("flags", ["--ckpt.load_enable --train.num_episodes 3", ""])
def test_a_longer_run_and_a_new_one_begin(command, capsys, flags):
    command(*flags.split())
    assert "deltal train: begins" in capsys.readouterr().out
