"""The real command with --dry-run, and what it refuses: all runs in one process, from a folder without data."""

import json
import subprocess
import sys

import pytest
from recipe_settings import CONFIGS, MADE_OF, OVERLAYS, PROMPT, ROOT

from deltal_openrlhf.host.authors import EXPERIMENTS

REAL = """
import contextlib, io, json, sys
sys.path[:0] = [sys.argv[1]]
import ray
from deltal_openrlhf.host import launch

for case in json.loads(sys.stdin.read()):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            launch.main(case)
            code = "returned"
        except SystemExit as stop:
            code = stop.code
    assert not ray.is_initialized()
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""
REWARD = ROOT / "deltal_openrlhf" / "rewards" / "math_reward.py"
SMALL = "--actor.num_gpus_per_node 1 --vllm.num_engines 1".split()


def config(*names: str) -> list[str]:
    return [word for name in names for word in ("--config", str(CONFIGS / f"{name}.yaml"))]


RUNS = {name: [*config(name), "--dry-run"] for name in MADE_OF}
RUNS |= {
    f"overlay {path.stem}": [*config("math-deltal", f"overlays/{path.stem}"), "--dry-run"]
    for path in OVERLAYS.glob("*.yaml")
}
BY_TOKENS = """--reward.remote_url http://127.0.0.1:1/ --train.dynamic_batch_enable --train.max_tokens_per_gpu 9000 --vllm.num_engines 8
    --rollout.batch_size 64 --rollout.n_samples_per_prompt 4 --train.batch_size 128""".split()
FROM_HUB = ["--data.prompt_dataset", "hub/set", "--eval.dataset", "hub/set", "--reward.remote_url", str(REWARD)]
MATH = config("math-deltal")
RUNS |= {
    "7b on 2 nodes": [*config("countdown-dapo-deltal", "overlays/7b", "overlays/2nodes"), "--dry-run"],
    "no recipe": ["--dry-run", *BY_TOKENS],
    "scope rollout": [*MATH, "--dry-run", "--deltal.scope", "rollout", "--ckpt.save_steps", "2000"],
    "other loss": [*MATH, "--dry-run", "--loss_agg", "token-mean"],
    "one engine too few": [*MATH, "--dry-run", "--vllm.num_engines", "3"],
    "three GPUs": [*MATH, "--dry-run", "--actor.num_gpus_per_node", "3", "--vllm.num_engines", "3"],
    "refused by the host": [*MATH, "--dry-run", "--train.partial_rollout_enable"],
    "refused by the host in a real start": [*MATH, *SMALL, *FROM_HUB, "--train.partial_rollout_enable"],
    "real start without data": [*config("countdown-deltal"), *SMALL],
    "no engine": ["--dry-run", *BY_TOKENS, "--vllm.num_engines", "0"],
    "no file": ["--config", "none.yaml", "--dry-run"],
    "unknown flag": [*MATH, "--dry-run", "--actor.adam.lrr", "1"],
}


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> dict[str, tuple]:
    """name -> (exit status, stdout, stderr) of every run."""
    folder = tmp_path_factory.mktemp("empty")
    process = subprocess.run(
        [sys.executable, "-c", REAL, str(ROOT)],
        input=json.dumps(list(RUNS.values())),
        capture_output=True,
        text=True,
        timeout=100,
        cwd=folder,
    )
    assert process.returncode == 0, process.stderr
    results = [json.loads(line) for line in process.stdout.splitlines() if line.startswith("[")]
    return dict(zip(RUNS, map(tuple, results), strict=True))


def lines(report: str) -> list[str]:
    return [" ".join(line.split()) for line in report.splitlines()]


@pytest.mark.parametrize("name", MADE_OF)
def test_the_dry_run_of_a_recipe_is_green(name, real):
    code, out, err = real[name]
    assert (code, err) == (0, "")
    task, family, method = MADE_OF[name]
    found = lines(out)
    responses, step = {"loss": ("1,280", 320), "dapo": ("1,024", 256)}[family]
    assert f"responses per rollout {responses} --rollout.batch_size x --rollout.n_samples_per_prompt" in found
    assert f"optimizer steps per rollout 4 of {step} responses" in found
    # 320 / 4 ranks / 2, 256 / 4 / 4; 2 x 8,448, 2 x 9,216, 4 x 3,328, 4 x 4,096 tokens
    micro = {"loss": "40 4 ranks, 80", "dapo": "16 4 ranks, 64"}[family]
    assert f"micro batches per optimizer step and rank {micro} responses each" in found
    tokens = {
        ("countdown", "loss"): "16,896",
        ("math", "loss"): "18,432",
        ("countdown", "dapo"): "13,312",
        ("math", "dapo"): "16,384",
    }
    assert f"in a micro batch {tokens[task, family]} forward and backward at once" in found
    assert any(line.startswith(f"actor.adam.lr 1e-06 {CONFIGS / name}.yaml:") for line in found)
    assert f"Compared with the authors' {EXPERIMENTS[name].script} (" in out
    assert "--ckpt.save_steps" in found  # the one setting of ours that differs in all
    assert ("--deltal.scope" in found) == (method["loss_agg"] == "deltal")
    assert ("dynamic sampling" in found) == (family == "dapo")
    assert ("signal of a prompt" in found) == (name == "math-dapo-soft-punishment")
    assert ("nodes x GPUs" in found) == (name in EIGHT_GPUS)
    for same in (
        "--actor.adam.lr",
        "--actor.adam.betas",
        "--train.batch_size",
        "--actor.dual_clip",
        "--data.max_len",
        "--eval.steps",
    ):
        assert same not in found
    make = f"deltal data {task} --out data/{task} --tokenizer Qwen/Qwen2.5-3B --max_prompt_tokens {PROMPT[task]}"
    assert f"--data.prompt_dataset: not there: data/{task}/train.jsonl; make such files with {make}" in found
    assert make in (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")


# The authors' scripts that have N_GPUS=8.
EIGHT_GPUS = ("countdown-dapo-soft-punishment", "math-dapo-soft-punishment", "math-dapo-neither")


def test_the_dry_run_says_what_overlays_come_to(real):
    assert all(real[name][0] == 0 for name in RUNS if name.startswith("overlay"))
    code, out, _ = real["7b on 2 nodes"]
    found = lines(out)
    assert code == 0
    assert "micro batches per optimizer step and rank 4 16 ranks, 16 responses each" in found
    here = found.index("--actor.model_name_or_path")
    assert found[here + 1 : here + 3] == ["here Qwen/Qwen2.5-7B", "authors Qwen/Qwen2.5-3B"]
    assert "The authors published settings for Qwen/Qwen2.5-3B only." in found
    assert any(line.startswith("actor.num_nodes 2 ") and line.endswith("2nodes.yaml:2") for line in found)


def test_a_dry_run_without_a_recipe_compares_nothing_and_asks_no_service(real):
    code, out, err = real["no recipe"]
    assert (code, err) == (0, "")
    assert "no --config bears the name of a recipe" in out
    # 128 responses of a step over 8 ranks; of 2,048 tokens each, 4 fit into 9,000.
    assert "micro batches per optimizer step and rank 1 to 4, by tokens 8 ranks, 16 responses each" in lines(out)
    assert "in a micro batch 9,000 forward and backward at once" in lines(out)


def test_scope_rollout_is_the_authors(real):
    code, out, _ = real["scope rollout"]
    assert code == 0
    assert "--deltal.scope" not in lines(out)
    assert "--ckpt.save_steps" not in lines(out)
    assert "∆L is active: alpha 0.75, scope rollout, M 8192" in lines(out)


@pytest.mark.parametrize(
    ("run", "says"),
    [
        ("other loss", "--alpha is 0.75, but --loss_agg is token-mean"),
        (
            "one engine too few",
            "--vllm.num_engines x --vllm.tensor_parallel_size is 3; with --train.colocate_all they share the GPUs",
        ),
        ("three GPUs", "--train.batch_size is 320, which is no multiple of ranks x --train.micro_batch_size, 6"),
        (
            "refused by the host",
            "OpenRLHF refuses these flags: --train.partial_rollout_enable requires --train.async_enable.",
        ),
        (
            "refused by the host in a real start",
            "OpenRLHF refuses these flags: --train.partial_rollout_enable requires",
        ),
        (
            "real start without data",
            "--data.prompt_dataset: not there: data/countdown/train.jsonl; make such files with deltal data",
        ),
        ("no engine", "--vllm.num_engines is 0; responses come from vLLM only, so allowed is 1 or more"),
        ("no file", "--config none.yaml: No such file or directory"),
        ("unknown flag", "unrecognized arguments: --actor.adam.lrr 1"),
    ],
)
def test_what_does_not_fit_ends_with_status_2_and_one_line(run, says, real):
    code, _, err = real[run]
    assert code == 2
    assert says in err
    assert err.count("\n") == 1
    assert err.startswith("deltal train: ")
