"""What `deltal train` says about missing and broken files before it imports torch: in half a second, as a process of its own."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from deltal_openrlhf.train import early

BAD = "actor.adam.lr: [1e-6\nloss_agg: deltal\n"
RECIPE = """data: {prompt_dataset: data/countdown/train.jsonl, max_len: 1280}
actor: {model_name_or_path: m}
rollout.max_new_tokens: 1024
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    (tmp_path / "bad.yaml").write_text(BAD)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "list.yaml").write_text("eval.dataset: [a.jsonl, there.jsonl]\n")
    (tmp_path / "there.jsonl").write_text("{}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("module", [["deltal_openrlhf.cli.main", "train"], ["deltal_openrlhf.train_ppo_ray"]])
def test_a_missing_file_of_settings_is_said_before_torch_is_imported(module, folder):
    command = [sys.executable, "-X", "importtime", "-m", *module, "--config", "missing.yaml"]
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert ended.returncode == 2
    said = [line for line in ended.stderr.splitlines() if not line.startswith("import time:")]
    assert said == [
        "deltal train: error: missing.yaml: no such file, and no shipped recipe has this name; `deltal recipes` lists them"
    ]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in ended.stderr.splitlines()}
    assert "yaml" in imported
    assert imported & {"torch", "openrlhf", "ray", "transformers", "vllm"} == set()
    assert min(seconds) < 0.5


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--config bad.yaml", "bad.yaml:2: not YAML: "),
        ("--config=bad.yaml --dry_run", "bad.yaml:2: not YAML: "),
        (
            "--config recipe.yaml --config missing.yaml",
            "missing.yaml: no such file, and no shipped recipe has this name; `deltal recipes` lists them",
        ),
        (
            "--config recipe.yaml",
            "--data.prompt_dataset: not there: data/countdown/train.jsonl; make such files with deltal data countdown --source "
            "Jiayi-Pan/Countdown-Tasks-3to4 --train 327680 --test 1024 --out data/countdown --tokenizer m --max_prompt_tokens 256 ",
        ),
        ("--config list.yaml --actor.adam.lr 1", "--eval.dataset: not there: a.jsonl"),
        ("--data.prompt_dataset=x.jsonl@train --config list.yaml", "--data.prompt_dataset: not there: x.jsonl"),
        ("--reward.remote_url r.py", "--reward.remote_url: not there: r.py"),
        ("--reward.remote-url deltal:maths", "--reward.remote_url: not there: deltal:maths"),
        (
            "--config contdown-deltal",
            "contdown-deltal: no such file, and no shipped recipe has this name; the nearest known one is",
        ),
        (
            "--config recipe.yaml --data.prompt_dataset there.jsonl --train.agent_func_path a.py",
            "--train.agent_func_path: not there: a.py",
        ),
    ],
)
def test_what_is_said(words, says, folder, capsys):
    assert early.refused(words.split())
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"deltal train: error: {says}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--config",
        "--help",
        "--config recipe.yaml --dry_run",
        "--config countdown-deltal --dry-run",
        "--reward.remote_url deltal:math",
        "--config recipe.yaml -h",
        "--config recipe.yaml --data.prompt_dataset there.jsonl",
        "--config recipe.yaml --data.prompt_dataset hub/set",
        "--data.max_len many --rollout.max_new_tokens 3 --no.such_flag 5",
        "--reward.remote_url http://127.0.0.1:1/get_reward",
    ],
)
def test_what_is_left_to_the_hosts_parser(words, folder, capsys):
    assert not early.refused(words.split())
    assert capsys.readouterr() == ("", "")
