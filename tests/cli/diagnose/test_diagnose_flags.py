"""`deltal diagnose`: what is refused before the model is read, and the command's output in a file."""

import subprocess
import sys

import pytest
from support.diagnose_command import flags, refused, saved_flags

from deltal_openrlhf.cli.diagnose import main
from deltal_openrlhf.diagnostics import plan, run


def test_help_and_wrong_flags_do_not_wait_for_torch():
    code = """
import sys
from deltal_openrlhf.cli.main import main
for argv in (["diagnose", "--help"], ["diagnose", "--model", "m", "--data", "d", "--out", "o", "--n", "1"]):
    try:
        main(argv)
    except SystemExit as stop:
        print("code", stop.code)
print([name for name in ("torch", "numpy", "transformers") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("code 0\ncode 2\n[]\n"), done.stdout + done.stderr
    assert done.stderr == "deltal diagnose: error: --n is 1, allowed is 2 or more\n"


BAD_FLAGS = [
    (dict(data=None), "one of --data and --rollouts is needed"),
    (dict(rollouts="x.jsonl"), "one of --data and --rollouts is needed, not both"),
    (dict(data=None, rollouts="x.jsonl"), "--n goes with --data only"),
    (dict(prompts=0), "--prompts is 0, allowed is 1 or more"),
    (dict(prompts=99), "--prompts is 99"),
    (dict(prompts=7), "7 prompts make 3 disjoint batches of --batch_prompts 2, wanted are 4 at least: 8 prompts, or --batch_prompts up"),
    (dict(temperature=0), "--temperature is 0.0, allowed is a number above 0"),
    (dict(memory_gb="nan"), "--memory_gb is nan, allowed"),
    (dict(memory_gb=0.00001), "--memory_gb is 1e-05, which does not suffice for 36 responses"),
    (dict(max_length=-1), "--max_length is -1.0, allowed"),
    (dict(projection="half"), "--projection is half, allowed are auto, full and a width that is a power of two"),
    (dict(projection=1000), "--projection is 1000, allowed are"),
    (dict(advantage="gae"), "argument --advantage: invalid choice: 'gae'"),
    (dict(device="cuda:7"), "--device is cuda:7, allowed here are auto, cpu"),
    (dict(model="/nowhere"), "/nowhere: no such folder"),
    (dict(data="/nowhere.jsonl"), "/nowhere.jsonl: no such file"),
    (dict(reward="/nowhere.py"), "--reward: not there: /nowhere.py"),
    (dict(reward="deltal:maths"), "deltal:maths is not a reward of this package; the nearest known one is 'deltal:math'"),
    (dict(reward="http://host"), "--reward is http://host, allowed are auto, deltal:math, deltal:countdown,"),
    (dict(max_new_tokens=300), "the model has 256 positions"),
]  # fmt: skip


@pytest.mark.parametrize("changes, said", BAD_FLAGS, ids=[" ".join(c) for c, _ in BAD_FLAGS])
def test_bad_input_ends_in_one_line_before_the_model_is_read(changes, said, example, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "load_model", lambda *_: pytest.fail("the weights were read"))
    with pytest.raises(SystemExit) as stop:
        main(flags(example, tmp_path / "out", **changes))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("deltal diagnose: error: ") and said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_other_places_where_input_is_checked(example, finished, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    assert "is a file, wanted is a folder" in refused(capsys, flags(example, tmp_path / "file"))
    (tmp_path / "raises.py").write_text("import nothing_of_this_name\n")
    assert "cannot be loaded: ModuleNotFoundError" in refused(
        capsys, flags(example, tmp_path / "out", reward=tmp_path / "raises.py")
    )
    (tmp_path / "other.py").write_text("def reward(queries): ...\n")
    assert "it has no function reward_func(queries, prompts, labels)" in refused(
        capsys, flags(example, tmp_path / "out", reward=tmp_path / "other.py")
    )
    missing = saved_flags(example, tmp_path / "none.jsonl", tmp_path / "out")
    assert "--rollouts: not there" in refused(capsys, missing)
    free = type("Usage", (), {"free": 1000})
    with monkeypatch.context() as patch:
        patch.setattr(plan.shutil, "disk_usage", lambda path: free)
        assert "take 0.0 GB on the disk, free are 0.0 GB" in refused(capsys, flags(example, tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_the_output_in_a_file(finished, example, tmp_path, quick, capsys):
    assert main(flags(example, tmp_path / "out")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("deltal diagnose: ") for line in lines) and "\r" not in "".join(lines)
    assert "12 prompts, 3 responses to each; gradients of" in lines[0]
    assert any(line.startswith("deltal diagnose: gradients: 36/36 responses, ") for line in lines)
