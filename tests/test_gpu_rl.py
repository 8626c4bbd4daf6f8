"""scripts/gpu/rl.py, whole: its dry run as a process, and flags that it refuses."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "scripts" / "gpu" / "rl.py"


def run(*words, timeout=150):
    return subprocess.run([sys.executable, SCRIPT, *map(str, words)], capture_output=True, text=True, timeout=timeout)


def test_the_dry_run_reports_every_part(tmp_path):
    done = run("--small", "--seconds", "3", "--work", tmp_path / "work", "--json", tmp_path / "rl.jsonl")
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    model, warm_up, *runs = map(json.loads, (tmp_path / "rl.jsonl").read_text().splitlines())
    assert model["parameters"] > 10**5 and warm_up["loss"] < warm_up["first_loss"]
    assert [row["case"] for row in runs] == ["deltal", "token-mean"]
    for row in runs:
        assert row["ok"] and 1 <= row["ppo_steps"] == len(row["rewards"]) == len(row["grad_norms"])
        assert row["seconds_per_step"] > 0 and row["held_out"][0][0] == 1 and row["peak_gb"] is None
    # The two start from the same weights and draws, and weigh the same responses differently.
    assert runs[0]["response_lengths"][0] == runs[1]["response_lengths"][0]
    assert runs[0]["ess"][0] != runs[1]["ess"][0]


def test_a_part_that_fails_does_not_stop_the_next(tmp_path):
    (tmp_path / "train.jsonl").mkdir()  # where the problems go
    done = run("--small", "--seconds", "3", "--work", tmp_path, "--json", tmp_path / "rl.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rl.jsonl").read_text().splitlines()]
    assert done.returncode == 1
    assert [row["ok"] for row in rows] == [False, True, False, False]


def test_flags_are_checked_first(tmp_path):
    for words, said in (
        ([], "give either --gguf FILE or --small"),
        (["--gguf", tmp_path / "no.gguf"], "no.gguf: not there"),
        (["--small", "--seconds", "0"], "--seconds is 0, allowed is above 0"),
    ):
        done = run("--work", tmp_path / "work", *words)
        assert done.returncode == 2 and said in done.stderr
    assert not (tmp_path / "work").exists()
