"""One training in several processes: interrupted in its start, killed, refused, left by its reward service, ended, and finished.

Its last parts are asynchronous, with partial rollouts and the correction for them: a checkpoint is the same for both.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from support import commands
from transformers import AutoModelForCausalLM

pytestmark = [pytest.mark.timeout(1300), pytest.mark.gpus(2)]
DELTAL = (
    "--loss_agg deltal --alpha 0.75 --deltal.scope rollout --ckpt.save_steps 1 --ckpt.load_enable "
    "--algo.advantage.is_correction_level token"
).split()
ASYNC = ("--train.async_enable", "--train.partial_rollout_enable")
STOCK = {"module": "openrlhf.cli.train_ppo_ray"}
STEPS_OF_AN_EPISODE = 4
WAIT = 5  # seconds


@pytest.fixture
def enabled():
    """`deltal enable` in this environment, and disabled again."""

    def deltal(command):
        subprocess.run([sys.executable, "-m", "deltal_openrlhf.cli.main", command], check=True, capture_output=True)

    deltal("enable")
    try:
        yield
    finally:
        deltal("disable")


@pytest.fixture
def flags(tmp_path) -> list[str]:
    """36 steps, unless told otherwise, on prompts whose labels `deltal serve-rewards` knows."""
    prompts = tmp_path / "prompts.jsonl"
    countdown = json.dumps({"numbers": [1, 2], "target": 3})
    rows = [{"input": f"{i}+{i % 7}=", "label": str(i + i % 7) if i % 2 else countdown} for i in range(16)]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [*DELTAL, *f"--data.prompt_dataset {prompts} --train.num_episodes 9".split()]


@contextmanager
def service(port: int = 0):
    """A running reward service; its process and its address."""
    command = [sys.executable, "-m", "deltal_openrlhf.cli.main", "serve-rewards", "--port", str(port)]
    with commands.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, re.search(r"--reward.remote_url (http://\S+)\)", process.stdout.readline())[1]
        finally:
            process.kill()


def kill_after_two_steps(run) -> int:
    """kill -9 of everything; the step of the last checkpoint."""
    latest = run.out / "ckpt" / "_actor" / "latest"
    run.wait_for(lambda: latest.exists() and latest.read_text() >= "global_step2", "checkpoint of step 2")
    assert "∆L is active: alpha 0.75, scope rollout, M 24" in run.text()
    assert "rank 0: ∆L is active: alpha 0.75, scope rollout, M 24" in (run.out / "hf/logs/train.log").read_text()
    run.kill_all()
    assert json.loads((latest.parent / latest.read_text() / "deltal.json").read_text())["alpha"] == 0.75
    return int(latest.read_text().removeprefix("global_step"))


def wait_for_a_step_after(saved: int, run) -> None:
    run.wait_for(lambda: run.metrics() and run.metrics()[-1]["step"] > saved, "step after the resumed one")
    steps = [row["step"] for row in run.metrics()]
    assert steps == list(range(1, len(steps) + 1))  # resumes where it was, and no step twice


def kill_the_service(process: psutil.Popen, address: str, run) -> None:
    """The run waits for it, and ends with one line."""
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    process.send_signal(signal.SIGKILL)
    killed = time.time()
    assert run.wait() == 1, run.text() + run.log()
    # The wait, the request that was in progress, and the end of Ray.
    assert time.time() - killed < WAIT + 25
    last = run.text().splitlines()[-1]
    why = f"deltal train: stopped: RuntimeError: no reward from {address}: connection refused "
    assert last.startswith(why), last
    assert re.fullmatch(rf"\(\d+ tries in {WAIT} s\); log: \S+", last.removeprefix(why)), last
    assert run.survivors() == []
    assert psutil.wait_procs(workers, timeout=10)[1] == []


def interrupt_in_the_start(run) -> None:
    run.wait_for(lambda: "starting Ray, vLLM and the trainer" in run.text(), "start of Ray")
    os.kill(run.process.pid, signal.SIGINT)
    assert run.wait() == 130, run.text() + run.log()
    assert run.text().splitlines()[-1].startswith("deltal train: stopped: interrupted; log: ")
    assert run.survivors() == []


def terminate(run) -> None:
    """The run saves its last step and ends."""
    os.kill(run.process.pid, signal.SIGTERM)
    assert run.wait() == 143, run.text() + run.log()
    last = run.text().splitlines()[-1]
    saved = re.match(r"deltal train: stopped: SIGTERM: checkpoint global_step(\d+) is saved in ", last)
    assert saved, last
    assert int(saved[1]) == steps_done(run.out) == run.metrics()[-1]["step"]
    assert run.survivors() == []


def finish(run, steps: int) -> None:
    """The run ends by itself: every step once, and the model."""
    assert run.wait() == 0, run.text() + run.log()
    assert [row["step"] for row in run.metrics()] == list(range(1, steps + 1))
    model = AutoModelForCausalLM.from_pretrained(run.out / "hf")
    assert sum(p.numel() for p in model.parameters()) > 50_000
    assert run.survivors() == []


def rewards(address: str) -> tuple[str, ...]:
    return "--reward.remote_url", address, "--deltal.reward_wait", str(WAIT)


def steps_done(out: Path) -> int:
    """The steps of the last checkpoint, which is that of the last step or of the one before."""
    return int((out / "ckpt" / "_actor" / "latest").read_text().removeprefix("global_step"))


def check_numbers(rows: list[dict]) -> None:
    for row in rows:
        # Each response has one status, and the model that knows nothing gives no answer.
        assert sum(row[name] for name in row if name.startswith("grade/")) == pytest.approx(1)
        assert row["grade/unparsable"] > 0.9
        # Real weight sync: trainer and engine agree on the log-probabilities of what was sampled.
        assert abs(row["vllm_kl"]) < 0.02


def leftovers() -> set[Path]:
    """What runs have put into the folders that all processes of the machine share."""
    return {*Path("/dev/shm").glob("*deltal-run-*"), *Path(tempfile.gettempdir()).glob("deltal-run-*")}


def test_one_training_with_several_ends(start, enabled, flags):
    before = leftovers()
    with start(*flags) as run:
        interrupt_in_the_start(run)

    with start(*flags, **STOCK) as run:
        saved = kill_after_two_steps(run)

    with start(*flags, "--alpha", "0.5", **STOCK) as run:
        assert run.wait() == 2
        assert run.text().count("\n") == 1
        assert "the checkpoint was trained with another loss" in run.text() and "0.5" in run.text()

    with service() as (process, address):
        with start(*flags, *rewards(address), **STOCK) as run:
            wait_for_a_step_after(saved, run)
            states = (run.out / "hf/logs/train.log").read_text()
            assert f"'global_step': {saved}" in states and f"'total_consumed_prompts': {4 * saved}" in states
            kill_the_service(process, address, run)
        stopped = steps_done(run.out)
        assert saved < stopped < 36

    with service(int(address.split(":")[2].split("/")[0])) as (_, same):
        assert same == address
        with start(*flags, *rewards(address), *ASYNC) as run:
            wait_for_a_step_after(stopped, run)
            assert f"resuming from checkpoint global_step{stopped} " in run.text()
            terminate(run)

        ended = steps_done(run.out)
        episodes = ended // STEPS_OF_AN_EPISODE + 1
        with start(*flags, *rewards(address), *ASYNC, "--train.num_episodes", str(episodes)) as run:
            finish(run, episodes * STEPS_OF_AN_EPISODE)
            assert f"resuming from checkpoint global_step{ended} " in run.text()
            check_numbers(run.metrics()[saved:])
        assert leftovers() <= before
