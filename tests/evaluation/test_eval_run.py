"""`deltal eval` as a process with vLLM: killed, interrupted and gone on with; and an engine that fails."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support import commands

pytestmark = [pytest.mark.timeout(300), pytest.mark.gpus(1)]
TIME_LIMIT = 120  # seconds a process may take on 2 cores; it takes 10
N = 10
TOTAL = 160 * N


class Evaluation:
    """One process in its own session. Everything it started is ended when the block ends."""

    def __init__(self, model: Path, data: Path, out: Path) -> None:
        self.responses = out / "responses.jsonl"
        self._console = out.parent / f"console-{time.time()}.txt"
        command = [sys.executable, "-m", "deltal_openrlhf.cli.main", "eval", "--model", str(model), "--data", str(data)]
        command += ["--out", str(out), "--n", str(N), "--max_new_tokens", "64"]
        with open(self._console, "w") as console:
            self.process = commands.Popen(command, stdout=console, stderr=subprocess.STDOUT, start_new_session=True)
        self.started = time.time()
        self.family = {psutil.Process(self.process.pid)}

    def text(self) -> str:
        return self._console.read_text()

    def lines(self) -> int:
        return self.responses.read_bytes().count(b"\n") if self.responses.exists() else 0

    def _look(self) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended since
                self.family.update(psutil.Process(self.process.pid).children(recursive=True))
        assert time.time() - self.started < TIME_LIMIT, self.text()

    def wait_for_lines(self, lines: int) -> None:
        while self.lines() < lines:
            assert self.process.poll() is None, self.text()
            self._look()
            time.sleep(0.01)

    def wait(self) -> int:
        while self.process.poll() is None:
            self._look()
            time.sleep(0.05)
        return self.process.returncode

    def survivors(self) -> list[psutil.Process]:
        """What is still there of it 10 s after its end."""
        _, alive = psutil.wait_procs([p for p in self.family if p.pid != self.process.pid], timeout=10)
        return alive

    def __enter__(self) -> "Evaluation":
        return self

    def __exit__(self, *_) -> None:
        for process in self.family:
            if process.is_running():
                process.kill()
        self.process.wait(timeout=10)


def records(out: Path) -> dict:
    rows = [json.loads(line) for line in (out / "responses.jsonl").read_text().splitlines()]
    found = {(row["set"], row["position"], row["sample"]): row for row in rows}
    assert len(found) == len(rows) == TOTAL
    return found


def test_killed_interrupted_and_resumed_is_as_if_uninterrupted(model, data, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    with Evaluation(model, data, whole) as run:
        assert run.wait() == 0, run.text()
        assert f"160 problems in math, countdown; {TOTAL} responses" in run.text()
        assert f"{TOTAL}/{TOTAL} responses" in run.text() and "| all: mean over sets" in run.text()

    with Evaluation(model, data, broken) as run:
        run.wait_for_lines(100)
        os.kill(run.process.pid, signal.SIGKILL)
        run.wait()
        assert run.survivors() == []
        kept = run.lines()
        assert 100 <= kept < TOTAL and not (broken / "results.json").exists()
    with open(run.responses, "a") as file:
        file.write('{"set": "math", "posi')  # what a kill within a line leaves

    with Evaluation(model, data, broken) as run:
        run.wait_for_lines(kept + 100)
        os.killpg(run.process.pid, signal.SIGINT)  # as a terminal sends it
        assert run.wait() == 130
        assert run.survivors() == []
        assert run.text().splitlines()[-1] == "deltal eval: interrupted; the same command resumes where it stopped"
        assert f"{kept} of them are there" in run.text() and "Traceback" not in run.text()
        kept = run.lines()
        assert kept < TOTAL

    with Evaluation(model, data, broken) as run:
        assert run.wait() == 0, run.text()
        assert run.survivors() == []

    assert records(broken) == records(whole)
    assert json.loads((broken / "results.json").read_text()) == json.loads((whole / "results.json").read_text())
    assert (broken / "samples.md").read_text() == (whole / "samples.md").read_text()
    check_what_was_sampled(records(whole))


def check_what_was_sampled(found: dict) -> None:
    """Responses differ, end or are cut off, and are graded by their label."""
    assert len({row["response"] for row in found.values()}) > TOTAL / 2
    assert {row["finish_reason"] for row in found.values()} == {"stop", "length"}
    for (name, position, _), row in found.items():
        assert row["tokens"] == 64 if row["finish_reason"] == "length" else 1 <= row["tokens"] <= 64
        if name == "math":
            answers = re.findall(r"#### (\d)|<answer>(1\+2)</answer>", row["response"])
            last = answers[-1] if answers else ("", "")
            assert row["correct"] == ((last[0] or last[1] and "3") == str(1 + position % 3)), row
            assert row["answer"] == ("".join(last) or None)
        else:
            assert row["correct"] == ("<answer>" in row["response"])
        assert row["correct"] == (row["status"] == "equal")
    for name in ("math", "countdown"):
        assert {row["correct"] for key, row in found.items() if key[0] == name} == {True, False}


def test_an_engine_that_fails_ends_with_one_line_and_the_log(model, data, tmp_path):
    broken = tmp_path / "model"
    broken.mkdir()
    for path in model.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with Evaluation(broken, data, tmp_path / "out") as run:
        assert run.wait() == 1
        assert run.survivors() == []
        last = run.text().splitlines()[-1]
        assert last.startswith("deltal eval: stopped: ") and last.endswith(f"; log: {tmp_path}/out/vllm.log")
        assert "Traceback" not in run.text() and "Traceback" in (tmp_path / "out" / "vllm.log").read_text()
