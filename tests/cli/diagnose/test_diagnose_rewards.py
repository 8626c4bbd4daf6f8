"""Rewards of `deltal diagnose`: by label, by a reward file that may fail, and without any signal."""

import json
from types import SimpleNamespace

import pytest
from support.diagnose_command import flags
from support.report_page import read

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


def test_without_signal_it_says_so_before_the_gradients_and_reports_the_rest(example, tmp_path, capsys):
    """--reward auto: a random model solves none of the problems. The whole analysis and the page are made."""
    assert main(flags(example, tmp_path / "out", reward="auto")) == 0
    said = capsys.readouterr().out
    sentence = "All 3 responses to a prompt have the same reward, for each of 12 prompts (reward 0 everywhere)."
    assert said.index(f"before any gradient: {sentence}") < said.index("gradients: ")
    assert said.index("statistics: ") < said.rindex(f"deltal diagnose: {sentence}") < said.index("None: without an adv")
    assert "deltal train" not in said
    found = json.loads((tmp_path / "out" / run.FINDINGS).read_text())
    assert not found["estimators"] and not found["variance"]["with_advantage"]
    assert found["variance"]["without_advantage"]["all"]["responses"] == 36
    page = read(tmp_path / "out")
    assert page.words.index(sentence) < page.words.index("Model ") < page.words.index("Without the advantage: ")


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
