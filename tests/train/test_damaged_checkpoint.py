"""What the driver says of a damaged checkpoint, and that the workers load the one that it chose."""

import sys
from argparse import Namespace

import pytest
from support.host_arguments import host_arguments

from deltal_openrlhf.host import checksums, remote_code
from deltal_openrlhf.host.whole_checkpoints import Choice, choose, fault_in, tags_in
from deltal_openrlhf.train import launch, start

WHOLE, BROKEN = '{"files": {}}', "{"


def save(folder, tag, checksums=WHOLE, start="first") -> None:
    (folder / tag).mkdir(parents=True)
    (folder / tag / "checksums.json").write_text(checksums)
    (folder / tag / "saved_by.txt").write_text(start)
    (folder / "latest").write_text(tag)


def choice_of(*folders):
    return choose(folders[0], tags_in(folders[0]), fault_in(folders))


@pytest.mark.parametrize("on_cpu", [True, False])
def test_it_is_said_on_console_and_in_the_log_and_the_workers_hear_which_is_whole(tmp_path, monkeypatch, capfd, on_cpu):
    args = host_arguments("--ckpt.path", str(tmp_path / "ckpt"), "--ckpt.output_dir", str(tmp_path / "out"))
    assert args.deltal.resumed is None  # until the driver has chosen
    args.deltal.resumed = "global_step5"
    choice = Choice("global_step5", ["global_step7 (a.pt: its checksum differs)"], has_checksums=True)
    made = start.Start(args, None, None, None, False, [], choice, None)
    monkeypatch.setenv(remote_code.VARIABLE, "0")
    monkeypatch.setattr(start, "check", lambda *given: made)
    monkeypatch.setattr(start.Start, "lines", lambda self: [])
    flat = Namespace(**{"deltal.trust_remote_code": False, "dry_run": False, "deltal.resumed": None})
    monkeypatch.setattr(sys, "stdout", open(1, "w", closefd=False))  # what is printed goes where descriptor 1 goes
    run = launch._Run()
    run.on_cpu = on_cpu
    run.check_flags(flat)
    if run.console:
        run.console.close()
    sys.stdout.flush()

    assert getattr(flat, "deltal.resumed") == "global_step5"
    loud = "global_step7 (a.pt: its checksum differs); resuming from global_step5, the newest whole one"
    out, log = capfd.readouterr().out, tmp_path / "out" / "logs" / "train.log"
    assert out.count(loud) == 1
    assert not on_cpu or log.read_text().count(loud) == 1


def test_policy_and_critic_are_loaded_from_one_step(tmp_path):
    both = [tmp_path / "_actor", tmp_path / "_critic"]
    for folder in both:
        save(folder, "global_step1")
        save(folder, "global_step2")
    save(both[0], "global_step3")  # killed before the critic was saved
    choice = choice_of(*both)
    assert choice == Choice("global_step2", [], True, ["global_step3 (_critic has none)"])
    [said] = choice.warnings(tmp_path)
    assert (
        "BROKEN" not in said and "of one model without the other" in said and "global_step3 (_critic has none)" in said
    )
    assert "resuming from global_step2" in said
    (both[1] / "global_step2" / "checksums.json").write_text(BROKEN)
    choice = choice_of(*both)
    assert choice.tag == "global_step1"
    loud, said = choice.warnings(tmp_path)
    assert "BROKEN" in loud and "global_step2 (_critic: checksums.json: broken)" in loud and "global_step3" not in loud
    assert "global_step3 (_critic has none)" in said


def test_the_policy_of_one_start_is_not_loaded_with_the_critic_of_another(tmp_path):
    both = [tmp_path / "_actor", tmp_path / "_critic"]
    for folder in both:
        save(folder, "global_step6")
    # Killed before the critic was saved; the next start resumed from 6 and was killed before it had saved the policy.
    save(both[0], "global_step8")
    save(both[1], "global_step8", start="second")
    choice = choice_of(*both)
    assert choice.tag == "global_step6"
    [said] = choice.warnings(tmp_path)
    assert "BROKEN" not in said and "global_step8 (the two models were saved by different starts)" in said
    (both[0] / "global_step8" / "saved_by.txt").write_text("second")
    assert choice_of(*both) == Choice("global_step8", [], True, [])


def test_each_start_has_a_name_of_its_own():
    first, second = (host_arguments().deltal.start for _ in range(2))
    assert first and second and first != second


def test_one_that_is_being_deleted_is_never_taken(tmp_path):
    save(tmp_path, ".deleted_global_step6")  # left by a kill, all or a part of it
    save(tmp_path, "global_step8", BROKEN)
    with pytest.raises(
        ValueError, match=r"no whole checkpoint is left .*: global_step8 \(checksums.json: broken\); restore one"
    ):
        choice_of(tmp_path)


def test_a_long_comparison_is_said_by_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checksums, "LONG", 0.0)
    save(tmp_path / "_actor", "global_step8", '{"files": {"a.pt": {"bytes": 1, "crc32": ["00000000"]}}}')
    (tmp_path / "_actor" / "global_step8" / "a.pt").write_bytes(b"a")
    with pytest.raises(ValueError, match="its checksum differs"):
        start._check_resumed(host_arguments("--ckpt.path", str(tmp_path), "--ckpt.load_enable"), None, None)
    assert capsys.readouterr().err == f"deltal train: checksums of {tmp_path}/_actor/global_step8: 1/1 MiB, 0:00:00\n"


def test_a_damaged_latest_and_later_steps_than_it_names(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, f"global_step{step}")
    save(tmp_path, "best_global_step2")
    (tmp_path / "latest").write_text("global_step2")  # put back by hand: the third is not wanted
    assert choice_of(tmp_path).tag == "global_step2"
    (tmp_path / "global_step2" / "checksums.json").write_text(BROKEN)
    assert choice_of(tmp_path).tag == "best_global_step2"
    (tmp_path / "latest").write_text("")
    chosen = choice_of(tmp_path)
    assert (chosen.tag, chosen.broken) == ("global_step3", ["? (`latest` is empty)"])
    (tmp_path / "latest").unlink()
    assert choice_of(tmp_path) is None


def test_a_checkpoint_without_checksums_is_taken_with_a_word_unless_it_is_cut_short(tmp_path):
    import torch

    (tmp_path / "global_step1").mkdir()
    file = tmp_path / "global_step1" / "model_states.pt"
    torch.save(torch.zeros(1000), file)
    (tmp_path / "latest").write_text("global_step1")
    [word] = choice_of(tmp_path).warnings(tmp_path)
    assert "saved without checksums.json" in word
    file.write_bytes(file.read_bytes()[:-500])
    with pytest.raises(ValueError, match=r"global_step1 \(model_states.pt: cut short\)"):
        choice_of(tmp_path)
