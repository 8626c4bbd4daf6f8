"""The quick start's stages, the training's command line, the report, and the whole command with a stand-in for the training."""

import json
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import psutil
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from deltal_openrlhf.cli import quickstart as command_line
from deltal_openrlhf.data.countdown import split_of
from deltal_openrlhf.parity import forkserver
from deltal_openrlhf.quickstart import (
    evaluate,
    model,
    report,
    run,
    sizes,
    stages,
    task,
    training,
)
from deltal_openrlhf.quickstart.stages import Stage
from deltal_openrlhf.runs.command import Terminated
from deltal_openrlhf.statistics.estimate import Estimate

TASK = sizes.CPU.task


STAGE = """
import os, sys, time
from contextlib import nullcontext
from pathlib import Path
from deltal_openrlhf.quickstart import stages
from deltal_openrlhf.runs.command import terminable

def long(file):
    Path(file).write_text(str(os.getpid()))
    time.sleep(60)

if __name__ == "__main__":
    with terminable() if sys.argv[2] else nullcontext():
        stages.in_child(long, sys.argv[1])
"""


@pytest.mark.parametrize(
    ("how", "is_handled"), [(signal.SIGTERM, "yes"), (signal.SIGINT, "yes"), (signal.SIGTERM, ""), (signal.SIGKILL, "")]
)
def test_a_stage_ends_with_the_quick_start(tmp_path, how, is_handled):
    """is_handled: as the command handles SIGTERM; it hears of the signal alone, without its child."""
    script, file = tmp_path / "stage.py", tmp_path / "pid"
    script.write_text(STAGE)
    parent = subprocess.Popen([sys.executable, str(script), str(file), is_handled])
    until = time.monotonic() + 60
    while not (file.exists() and file.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    child = psutil.Process(int(file.read_text()))
    parent.send_signal(how)
    parent.wait(timeout=10)
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running()


def test_stages_are_skipped_repeated_and_resumed(tmp_path, capsys):
    calls = []
    path = tmp_path / "x.json"

    def work():
        calls.append(1)
        return {"n": len(calls)}

    def run(seed, makes=None, work=work):
        return Stage(path, "x", {"seed": seed}, makes).run(work)

    first = run(0)
    assert first["result"] == {"n": 1} and first["peak_memory_gb"] > 0.05
    assert run(0) == first
    assert run(1)["result"] == {"n": 2}
    made = tmp_path / "folder"
    assert run(1, made)["result"] == {"n": 3}
    made.mkdir()
    assert run(1, made)["result"] == {"n": 3}
    with pytest.raises(RuntimeError):
        run(2, work=lambda: (_ for _ in ()).throw(RuntimeError))
    assert json.loads(path.read_text())["settings"] == {"seed": 1}


def test_prompts_of_a_training(tmp_path):
    of_run, of_control = tmp_path / "run.jsonl", tmp_path / "control.jsonl"
    for prompts, is_control in ((of_run, False), (of_control, True)):
        training.write_prompts(training.Training(tmp_path, tmp_path, prompts, [], 3, 1, is_control))
    rows = [json.loads(line) for line in of_run.read_text().splitlines()]
    assert len(rows) == 48 and of_control.read_bytes() == of_run.read_bytes()
    for row in rows:
        problem = json.loads(row["label"])
        assert split_of(problem["numbers"], problem["target"]) == "train"
        assert row["input"] == task.prompt(problem["numbers"], problem["target"])


def test_training_command_is_one_that_openrlhf_knows(tmp_path):
    """Every flag is the host's, except three of ours."""
    import inspect

    import openrlhf.cli.train_ppo_ray as host

    loss = ["--loss_agg", "deltal", "--alpha", "1"]
    arguments = training.command(training.Training(tmp_path, tmp_path, tmp_path, loss, steps=2, seed=3, control=True))
    flags = [word for word in arguments[3:] if word.startswith("--")]
    assert len(flags) == len(set(flags))
    source = inspect.getsource(host).replace('f"--{prefix}.', '"--actor.')
    assert [f for f in flags if f'"{f}"' not in source] == ["--deltal.save_rollouts", "--loss_agg", "--alpha"]
    assert arguments[arguments.index("--reward.remote_url") + 1].endswith("coin_reward.py")


def test_report(tmp_path):
    keys = ["rollout/reward_mean", "deltal/ess", "deltal/grad_norm"]
    keys += [f"deltal/response_length_{k}" for k in ("mean", "p50", "p95", "max")]
    rows = [{"step": step, **{k: float(step) for k in keys}} for step in range(1, 6)]
    interval = Estimate(0.2, 0.1, 0.3, resolved=True)
    report.plot(rows, interval, interval, 256, "title", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG") and len(list(tmp_path.iterdir())) == 1
    before, after, difference = (Estimate(value, value, 0.9, resolved=True) for value in (0.25, 0.75, 0.5))
    accuracies = {"before": before, "after": after, "difference": difference}
    table = report.table(accuracies, 43, 120)
    assert "0.250" in table and "0.750" in table and "+0.500" in table and "120" in table
    summary = report.summary_of(accuracies)
    assert summary["accuracy_difference"] == 0.5 and summary["accuracy_difference_interval"] == [0.5, 0.9]


def test_whole_command_with_a_stand_in_for_training(tmp_path, monkeypatch, capsys):
    """All stages; the training is a copy of the start. Then again: nothing is repeated. Then with another alpha: training alone is."""
    trainings = []

    def copy_start(arguments):
        trainings.append(arguments)
        checkpoint = tmp_path / "out" / "checkpoint"
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out" / "start")
        model.save(AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "start"), tokenizer, checkpoint)
        keys = ["deltal/grad_norm", "deltal/ess", "rollout/reward_mean", "deltal/response_length_mean"]
        (checkpoint / "metrics.jsonl").write_text(json.dumps({"step": 1, **dict.fromkeys(keys, 1.0)}) + "\n")

    monkeypatch.setattr(training, "train", copy_start)
    monkeypatch.setattr(sizes, "CPU", replace(sizes.CPU, steps=2, task=replace(TASK, max_new_tokens=30)))
    monkeypatch.setattr(task, "HELD_OUT", 4)
    warm = forkserver.context()
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: warm)
    arguments = ["--out", str(tmp_path / "out"), "--steps", "2"]
    assert command_line.main(arguments) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["accuracy_before"] == summary["accuracy_after"] and summary["accuracy_difference"] == 0
    assert {"accuracy_before_interval", "accuracy_after_interval", "steps", "seconds", "peak_memory_gb"} < set(summary)
    for name in ("checkpoint", "plot"):
        assert (tmp_path / "out" / summary[name]).exists()
    said = capsys.readouterr().out
    assert "held-out accuracy" in said
    page = (tmp_path / "out" / "report.html").read_text()
    assert "last evaluation, held-out" in page and "No evaluations" not in page
    again = said[said.index("next, another aggregation from the same start: deltal quickstart ") :].splitlines()[0]
    parsed = command_line.parse(shlex.split(again.partition("deltal quickstart ")[2]))
    assert (parsed.model, parsed.loss_agg, parsed.steps) == (str(tmp_path / "out" / "start"), "token-mean", 2)
    assert parsed.out == tmp_path / "out-token-mean"

    assert command_line.main(arguments) == 0
    assert len(trainings) == 1
    assert command_line.main([*arguments, "--alpha", "0.5"]) == 0
    assert len(trainings) == 2 and trainings[1][-2:] == ["--alpha", "0.5"]
    assert (tmp_path / "out" / "previous" / "checkpoint" / "metrics.jsonl").exists()
    assert "supervised start: done before" in capsys.readouterr().out
    assert command_line.main([*arguments, "--loss_agg", "token-mean"]) == 0
    assert trainings[2][-2:] == ["--loss_agg", "token-mean"]


LOSS = "--loss_agg deltal --alpha 1"


@pytest.mark.parametrize(
    ("interrupted_in", "kept"),
    [
        ("supervised start", "no stage was finished, so the same command begins anew"),
        ("accuracy before", "supervised start"),
        ("training", "supervised start, accuracy before"),
        ("training, after a save", "supervised start, accuracy before, global_step5 of the training"),
        ("accuracy after", f"supervised start, accuracy before, training with {LOSS}"),
    ],
)
def test_an_interrupted_run_says_what_it_has_kept(interrupted_in, kept, tmp_path, monkeypatch, capsys):
    saved = tmp_path / "ckpt" / "_actor" / "latest"
    saved.parent.mkdir(parents=True)
    saved.write_text("global_step9")  # of a training with other settings

    def in_child(function, *arguments):
        if function is run.supervised_start and interrupted_in != "supervised start":
            (tmp_path / "start").mkdir()
            return {}
        is_after = function is evaluate.evaluate and arguments[0] == tmp_path / "checkpoint"
        if function is evaluate.evaluate and not is_after and interrupted_in != "accuracy before":
            return {"correct": [[1, 0]] * task.HELD_OUT, "lengths": [1.0], "first": [""] * task.HELD_OUT}
        raise Terminated("SIGTERM")

    def train(arguments):
        if interrupted_in in ("training, after a save", "accuracy after"):
            saved.parent.mkdir(parents=True)
            saved.write_text("global_step5")
        if interrupted_in == "accuracy after":
            (tmp_path / "checkpoint").mkdir()
            (tmp_path / "checkpoint" / "config.json").write_text("{}")
            return
        raise Terminated("SIGTERM")

    monkeypatch.setattr(stages, "in_child", in_child)
    monkeypatch.setattr(training, "train", train)
    assert command_line.main(["--out", str(tmp_path)]) == 143
    if kept.startswith("supervised"):
        kept = f"kept in {tmp_path}: {kept}; the same command resumes after that"
    assert capsys.readouterr().err == f"deltal quickstart: interrupted by SIGTERM; {kept}\n"

    def at_once(self, work):
        raise Terminated("SIGTERM")

    monkeypatch.setattr(Stage, "run", at_once)  # a second start, ended before it comes to a stage
    assert command_line.main(["--out", str(tmp_path)]) == 143
    assert capsys.readouterr().err == f"deltal quickstart: interrupted by SIGTERM; {kept}\n"


def test_failed_training_is_reported_and_repeated(tmp_path):
    with pytest.raises(training.TrainingFailed) as failed:
        training.train([sys.executable, "-c", "raise SystemExit(3)"])
    assert failed.value.code == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_schedulers_signal_is_passed_on_to_the_training(number):
    def terminate_once_passed_on():
        while signal.getsignal(number) is before:
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    threading.Thread(target=terminate_once_passed_on, daemon=True).start()
    with pytest.raises(Terminated, match=f"^{number.name}$"):
        training.train([sys.executable, "-c", "import time; time.sleep(60)"])
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    "bad",
    [["--alpha", "1.5"], ["--alpha", "nan"], ["--steps", "0"], ["--seed", "-1"], ["--loss_agg", "x"], ["--out", "a,b"]],
)
def test_bad_flags(bad, capsys):
    with pytest.raises(SystemExit) as stopped:
        command_line.main(bad)
    assert stopped.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_packages_of_the_report_are_there_before_the_stages(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("deltal_openrlhf.runs.packages.find_spec", lambda name: None if name == "matplotlib" else True)
    monkeypatch.setattr("deltal_openrlhf.quickstart.run.QuickStart.run", lambda self: pytest.fail("a stage ran"))
    assert command_line.main(["--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == (
        "deltal quickstart: error: matplotlib is not installed, the report needs it: pip install 'deltal-openrlhf[plots]'\n"
    )


def test_help(capsys):
    with pytest.raises(SystemExit) as stopped:
        command_line.main(["--help"])
    assert stopped.value.code == 0
    assert "--shuffle_rewards" in capsys.readouterr().out
