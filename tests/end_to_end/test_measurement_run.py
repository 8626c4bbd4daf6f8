"""`deltal compare` in the real pipeline, and `deltal diagnose` on the responses that the run saved."""

import json
import subprocess
import sys

import pytest
import yaml
from support import commands
from support.metric_names import nameless

pytestmark = [pytest.mark.timeout(800), pytest.mark.gpus(2)]
TIME_LIMIT = 400  # seconds on 2 cores that other tests share; the comparison takes about 50 alone


def deltal(*words: str, status: int = 0) -> str:
    command = [sys.executable, "-m", "deltal_openrlhf.cli.main", *map(str, words)]
    done = commands.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIME_LIMIT)
    assert done.returncode == status, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def compared(workspace, tmp_path_factory):
    """Folder of a comparison of one method with one seed: three PPO steps of two optimizer steps each."""
    experiment = {
        "engine": "pipeline",
        "starts": [str(workspace / "model")],
        "seeds": [0],
        "methods": {"∆L": {"loss_agg": "deltal", "alpha": 0.75}},
        "flags": {
            "data.prompt_dataset": str(workspace / "prompts.jsonl"),
            "data.input_key": "input",
            "data.label_key": "label",
            "data.max_samples": 12,
            "data.max_len": 40,
            "reward.remote_url": str(workspace / "reward.py"),
            "rollout.batch_size": 4,
            "rollout.n_samples_per_prompt": 4,
            "rollout.max_new_tokens": 24,
            "rollout.micro_batch_size": 4,
            "train.batch_size": 8,
            "train.micro_batch_size": 2,
            "train.num_episodes": 1,
            "train.max_epochs": 1,
            "algo.advantage.estimator": "group_norm",
            "algo.advantage.is_correction_level": "token",
            "algo.kl.init_coef": 0,
            "actor.num_nodes": 1,
            "actor.num_gpus_per_node": 1,
            "actor.adam.lr": 1e-3,
            "actor.lr_scheduler": "constant",
            "vllm.num_engines": 1,
            "eval.dataset": str(workspace / "prompts.jsonl"),
            "eval.steps": 3,
            "eval.n_samples_per_prompt": 2,
            "deltal.save_rollouts": 2,
        },
    }
    folder = tmp_path_factory.mktemp("compared")
    (folder / "experiment.yaml").write_text(yaml.safe_dump(experiment, allow_unicode=True))
    said = deltal("compare", folder / "experiment.yaml", "--out", folder / "out")
    assert "[1/1]" in said
    return folder / "out"


def test_a_comparison_in_the_pipeline(compared):
    comparison = json.loads((compared / "comparison.json").read_text())
    assert comparison["engine"] == "pipeline" and comparison["unfinished"] == []
    (found,) = comparison["arms"][0]["methods"]
    assert found["runs"] == 1 and found["crashed"] == []
    (run,) = compared.rglob("seed0")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (evaluation,) = [json.loads(line) for line in (run / "evals.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3] and evaluation["step"] == 3
    assert found["auc"]["value"] == pytest.approx(sum(row["rollout/reward_mean"] for row in rows) / 3)
    assert found["final"]["value"] == pytest.approx(evaluation["eval_default_pass1"])
    assert nameless({*rows[0], *evaluation}) == []
    assert "<script" not in (compared / "report.html").read_text()


def test_diagnose_reads_what_the_run_saved(compared, workspace, tmp_path):
    (run,) = compared.rglob("seed0")
    saved = sorted(path.name for path in (run / "rollouts").iterdir())
    assert saved == ["step_000001.jsonl", "step_000003.jsonl"]
    first = run / "rollouts" / "step_000001.jsonl"
    words = ("--rollouts", first, "--batch_prompts", "1")
    said = deltal("diagnose", "--model", workspace / "model", *words, "--out", tmp_path / "start")
    findings = json.loads((tmp_path / "start" / "findings.json").read_text())
    assert findings["sample"]["responses"] == 16 and findings["sample"]["batches"] == 4
    # The first step was sampled by the starting model, in bfloat16.
    assert abs(findings["source"]["log_prob_difference"]) < 0.01 and "warning" not in said
    assert (tmp_path / "start" / "report.html").stat().st_size > 50_000
