"""The engine that runs `deltal train`."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from deltal_openrlhf.comparison import pipeline
from deltal_openrlhf.comparison.pool import GRACE
from deltal_openrlhf.comparison.schedule import Schedule
from deltal_openrlhf.comparison.spec import read_spec


def test_the_command_line(tmp_path):
    _, *words = pipeline.command(tmp_path)
    at = {name: words[words.index(name) + 1] for name in ("--config", "--ckpt.output_dir", "--ckpt.path")}
    assert words[:2] == ["-m", "deltal_openrlhf.train_ppo_ray"]
    assert at == {
        "--config": str(tmp_path / "flags.yaml"),
        "--ckpt.output_dir": str(tmp_path),
        "--ckpt.path": str(tmp_path / "ckpt"),
    }
    assert words[-5:] == ["--ckpt.best_metric_key", "none", "--ckpt.load_enable", "--deltal.grace", "20"]
    assert pipeline.SAVE_WITHIN < GRACE


def engine_run(monkeypatch, folder: Path, script: str, flags: dict) -> dict:
    """pipeline.run with a small script as the command, its console in console.txt as a worker has it."""
    whole = f"import sys; sys.stdout = sys.stderr = open({str(folder / 'console.txt')!r}, 'a')\nfolder = {str(folder)!r}\n{script}"
    monkeypatch.setattr(pipeline, "command", lambda folder: [sys.executable, "-c", whole])
    return pipeline.run(flags, folder)


STEPS = """
import json
with open(folder + "/metrics.jsonl", "w") as file:
    for step in range(1, 7):
        print(json.dumps({"step": step}), file=file)
with open(folder + "/evals.jsonl", "w") as file:
    for step in EVALS:
        print(json.dumps({"step": step}), file=file)
"""


def test_a_run_ends_with_its_steps_and_what_all_its_processes_took(tmp_path, monkeypatch):
    (tmp_path / "ckpt").mkdir()
    busy = """
import subprocess, sys
subprocess.run([sys.executable, "-c", '''
import time
begun = time.process_time()
while time.process_time() - begun < 1.5:
    pass
time.sleep(0.6)
'''])
"""
    flags = {"actor.adam.lr": 1e-6, "eval.dataset": "e.jsonl", "eval.steps": 3, "vllm.enforce_eager": True}
    found = engine_run(monkeypatch, tmp_path, busy + STEPS.replace("EVALS", "(3, 6)"), flags)
    assert found["steps"] == 6 and found["cpu_seconds"] >= 1.5
    assert yaml.safe_load((tmp_path / "flags.yaml").read_text()) == flags
    assert not (tmp_path / "ckpt").exists()


def test_a_run_that_fails_says_why(tmp_path, monkeypatch):
    script = "print('deltal train: stopped: the loss is nan; log: x', 'noise', sep='\\n'); sys.exit(1)"
    with pytest.raises(RuntimeError, match="^deltal train: stopped: the loss is nan; log: x$"):
        engine_run(monkeypatch, tmp_path, script, {})
    # What the part before an interruption said is not the reason.
    with pytest.raises(RuntimeError, match="^deltal train ended with exit code 3$"):
        engine_run(monkeypatch, tmp_path, "sys.exit(3)", {})


def test_a_run_without_a_step_is_a_failure(tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match="without a training step"):
        engine_run(monkeypatch, tmp_path, "", {})


def test_a_missing_evaluation_is_a_failure(tmp_path, monkeypatch):
    flags = {"eval.dataset": "e.jsonl", "eval.steps": 3}
    with pytest.raises(RuntimeError, match="evals.jsonl has no evaluation after step 3"):
        engine_run(monkeypatch, tmp_path, STEPS.replace("EVALS", "(6,)"), flags)
    assert engine_run(monkeypatch, tmp_path, STEPS.replace("EVALS", "()"), {})["steps"] == 6


def test_an_interrupted_run_resumes_from_its_checkpoint_and_a_crashed_one_begins_anew(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s/config.json").touch()
    file = tmp_path / "c.yaml"
    file.write_text(f"{{engine: pipeline, starts: [{tmp_path}/s], seeds: [0, 1, 2, 3], methods: {{a: {{}}}}}}")
    spec = read_spec(str(file))
    out = tmp_path / "out"

    def next_folders(**arguments) -> dict[str, bool]:
        """Folder of each run that begins -> whether what was there is there still."""
        schedule, found = Schedule(spec, spec.arms, out, **arguments), {}
        while job := schedule.next_job():
            found[job.name[-1]] = (out / job.name / "left").exists()
        return found

    assert next_folders() == {"0": False, "1": False, "2": False, "3": False}
    for seed in "0123":
        (out / f"runs/main/s/a/seed{seed}/left").touch()
    for seed in "123":
        saved = out / f"runs/main/s/a/seed{seed}/ckpt/_actor"
        saved.mkdir(parents=True)
        (saved / "global_step3").mkdir()
        (saved / "latest").write_text("global_step3\n")
    (out / "runs/main/s/a/seed2/result.json").write_text('{"crashed": "x", "seconds": 1.0, "cpu_seconds": 1.0}')
    # Killed while the folder was removed: of which run the rest is, nobody knows.
    (out / "runs/main/s/a/seed3/settings.json").unlink()
    assert next_folders() == {"0": False, "1": True, "3": False}
    (out / "runs/main/s/a/seed3/left").touch()
    assert next_folders(retry_crashed=True) == {"0": False, "1": True, "2": False, "3": False}


@pytest.mark.parametrize(("evaluated", "tag"), [((2, 4), 4), ((2,), 3), ((), None)])
def test_a_run_resumes_from_a_checkpoint_whose_evaluation_is_there(tmp_path, evaluated, tag):
    saved = tmp_path / "ckpt/_actor"
    for step in (2, 3, 4):
        (saved / f"global_step{step}").mkdir(parents=True)
    (saved / "latest").write_text("global_step4\n")
    (tmp_path / "evals.jsonl").write_text("".join(json.dumps({"step": step}) + "\n" for step in evaluated))
    flags = {"eval.dataset": "e.jsonl", "eval.steps": 2}
    assert pipeline.can_resume(tmp_path, flags) == (tag is not None)
    if tag:
        assert (saved / "latest").read_text() == f"global_step{tag}"
    assert pipeline.can_resume(tmp_path, {})
