"""Commands that load a model which brings Python along: none of it runs, and nobody is asked, whatever the terminal would answer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support import commands
from support.remote_code import bring_code

from deltal_openrlhf.comparison import inputs
from deltal_openrlhf.models.tiny import write_tiny_model
from deltal_openrlhf.quickstart import given, sizes

NEEDS = "needs Python of its own (own.py), which would run with your rights; "
COMMANDS = {
    "eval": "deltal_openrlhf.cli.main eval --model own --data data.jsonl --out eval",
    "diagnose": "deltal_openrlhf.cli.main diagnose --model own --data data.jsonl --out diagnose",
    "compare": "deltal_openrlhf.cli.main compare compare.yaml --out compare",
    "data": "deltal_openrlhf.cli.main data countdown --num_numbers 3 4 --train 8 --test 4 --out data --tokenizer own --max_prompt_tokens 9",
}
NONE_HERE = "this command runs none of it"
REMEDY = dict.fromkeys(("eval", "diagnose"), "--trust_remote_code allows it")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    from tokenizers import pre_tokenizers

    folder = tmp_path_factory.mktemp("models")
    (folder / "own").mkdir()
    write_tiny_model(folder / "own", ["<pad>", "<eos>", "<unk>", "a "], pre_tokenizers.WhitespaceSplit())
    bring_code(folder / "own", folder / "mark", needed=True)
    (folder / "data.jsonl").write_text(json.dumps({"input": "a ", "label": "1", "datasource": "math"}) + "\n")
    (folder / "reward.py").write_text("def reward_func(queries, prompts, labels):\n    pass\n")
    flags = """data.prompt_dataset: data.jsonl, reward.remote_url: reward.py, data.input_key: input, data.label_key: label,
        rollout.max_new_tokens: 8, data.max_len: 16, rollout.batch_size: 1, rollout.n_samples_per_prompt: 2, train.batch_size: 2,
        train.micro_batch_size: 1, algo.kl.init_coef: 0, algo.advantage.estimator: rloo, actor.lr_scheduler: constant"""
    spec = {"starts": ["own"], "seeds": [0], "methods": {"a": {"loss_agg": "token-mean"}}}
    spec["flags"] = yaml.safe_load("{" + flags + "}")
    (folder / "compare.yaml").write_text(yaml.safe_dump(spec))
    return folder


def run(folder: Path, words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", *words.split()]
    return commands.run(command, input="y\n" * 9, capture_output=True, text=True, timeout=100, cwd=folder)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "compare"])
def test_it_is_refused_and_not_run(name, folder):
    ended = run(folder, COMMANDS[name])
    assert ended.returncode == 2
    assert "own: " + NEEDS + REMEDY.get(name, NONE_HERE) in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "[y/N]" not in ended.stdout
    assert not (folder / "mark").exists()


@pytest.mark.parametrize("load", [inputs.check_architecture, lambda name: given.find(name, sizes.CPU)])
def test_the_loop_of_a_comparison_and_the_quick_start_refuse_it(load, folder):
    with pytest.raises(ValueError, match="needs Python of its own") as refused:
        load(str(folder / "own"))
    assert str(refused.value).endswith(f"{folder / 'own'}: {NEEDS}{NONE_HERE}")
    assert not (folder / "mark").exists()


def test_with_the_flag_it_runs_unasked(folder):
    """Diagnose gets as far as the one prompt, of which there are too few."""
    ended = run(folder, COMMANDS["diagnose"] + " --trust_remote_code --prompts 1 --batch_prompts 1")
    assert (folder / "mark").read_text() != ""
    assert "[y/N]" not in ended.stdout
    assert NEEDS not in ended.stderr
    (folder / "mark").unlink()


def test_credentials_are_refused_in_a_comparison(folder):
    for flag, value in (("logger.wandb.key", "k" * 40), ("reward.remote_url", "http://a:geheim@h/r")):
        spec = yaml.safe_load((folder / "compare.yaml").read_text())
        spec["flags"][flag] = value
        (folder / "keys.yaml").write_text(yaml.safe_dump(spec))
        ended = run(folder, COMMANDS["compare"].replace("compare.yaml", "keys.yaml"))
        assert ended.returncode == 2
        assert f"flags: {flag} holds a credential, which the results would keep; wandb's is" in ended.stderr
        assert "geheim" not in ended.stderr and "kkk" not in ended.stderr
