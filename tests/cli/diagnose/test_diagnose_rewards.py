"""Rewards of `deltal diagnose`: by label, by a reward file that may fail, and without any signal."""

from types import SimpleNamespace

import pytest
from support.diagnose_command import flags, refused

from deltal_openrlhf.cli.diagnose import main
from deltal_openrlhf.diagnostics import run
from deltal_openrlhf.diagnostics.rewarding import rewarder
from deltal_openrlhf.evaluation.prompts import Prompt


def test_a_reward_file_that_fails_stops_the_run_with_one_line(example, tmp_path, quick, capsys):
    (tmp_path / "reward.py").write_text(
        "def reward_func(queries, prompts, labels):\n    raise OSError('no\\nservice')\n"
    )
    assert main(flags(example, tmp_path / "out", reward=tmp_path / "reward.py")) == 1
    error = capsys.readouterr().err
    assert error.endswith("no service\n") and error.startswith("deltal diagnose: stopped: no reward from ")
    (tmp_path / "list.py").write_text("def reward_func(queries, prompts, labels):\n    return [1.0]\n")
    assert main(flags(example, tmp_path / "out_of_list", reward=tmp_path / "list.py")) == 1
    assert "reward_func gave '[1.0]', allowed is a dict with rewards" in capsys.readouterr().err
    (tmp_path / "nan.py").write_text(
        "def reward_func(queries, prompts, labels):\n    return {'rewards': [float('nan')]}\n"
    )
    assert main(flags(example, tmp_path / "nan", reward=tmp_path / "nan.py")) == 1
    assert "allowed is one finite number" in capsys.readouterr().err


def test_without_signal_no_gradient_is_computed(example, tmp_path, monkeypatch, capsys):
    """--reward auto: a random model solves none of the problems."""
    monkeypatch.setattr(run, "Scores", lambda *_: pytest.fail("gradients were computed"))
    assert "the same reward, for each of 12 prompts (mean reward 0)" in refused(
        capsys, flags(example, tmp_path / "out", reward="auto")
    )


@pytest.mark.parametrize(
    "text, label, reward",
    [
        ("so \\boxed{7}", "7", 1.0),
        ("so \\boxed{8}", "7", 0.0),
        ("1 + 2 <answer> (1 + 2) * 3 </answer>", '{"numbers": [1, 2, 3], "target": 9}', 1.0),
        ("1 + 2 <answer> (1 + 2) + 3 </answer>", '{"numbers": [1, 2, 3], "target": 9}', 0.0),
    ],
)
def test_rewards_by_label_are_those_of_deltal_eval(text, label, reward):
    tokenizer = SimpleNamespace(
        decode=lambda tokens, skip_special_tokens: text if skip_special_tokens else text + "<eos>"
    )
    assert rewarder("auto", tokenizer)(Prompt("p", [1]), label, [[2, 3]]) == [reward]
