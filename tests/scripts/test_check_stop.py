"""scripts/check_stop.py on a made-up run: where it sends its signal, and which ends it calls right. No pipeline is started."""

import sys

import pytest
from support.scripts import in_scripts

RUN = """
import json, os, signal, subprocess, sys, time
from pathlib import Path

out, last, ends = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
hf, actor = out / "hf", out / "ckpt" / "_actor"
phase, step = "start", 0

def save(step):
    (actor / "latest").write_text(f"global_step{step}")

def told(*_):
    if ends != "a step is lost":
        save(step)
    print(f"deltal train: stopped: SIGTERM in {phase}" if ends != "without a reason" else "ended", flush=True)
    os._exit(1 if ends == "another exit code" else 143)

def until_seen():
    seen = out / f"seen {phase}"
    while phase == last or not seen.exists() or seen.stat().st_size < 3:
        time.sleep(0.01)

signal.alarm(90)
signal.signal(signal.SIGTERM, told)
for folder in (hf / "rollouts", actor):
    folder.mkdir(parents=True, exist_ok=True)
if ends == "a process is left":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("deltal train: starting", flush=True)
until_seen()
phase = "update"
(hf / "rollouts" / "step_000001.jsonl").touch()
until_seen()
phase, step = "save", 1
(actor / ".saving").mkdir()
(hf / "metrics.jsonl").write_text(json.dumps({"step": 1, "of": "made up"}) + "\\n")
until_seen()
phase = "rollout"
(actor / ".saving").rmdir()
until_seen()
"""
"""It stays in a phase until the script has looked at it three times, and in the last one until it is told to stop."""
STOP = """
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import check_stop
check_stop.PHASES = dict.fromkeys(check_stop.PHASES, 0.0)

class Moment(check_stop.Moment):
    def __init__(self, out, *given):
        super().__init__(out, *given)
        with open(out / f"seen {self.phase}", "a") as file:
            file.write(".")

check_stop.Moment = Moment
check_stop.psutil.wait_procs = lambda family, timeout, wait=check_stop.psutil.wait_procs: wait(family, timeout=1)

def stopped(run):
    phase, ends = run
    out = Path(data["out"]) / f"{phase} {ends}"
    return check_stop.stop_once([*data["words"], str(out), phase, ends], out, phase, random.Random(0))

with ThreadPoolExecutor() as threads:
    result = list(threads.map(stopped, data["runs"]))
"""
RIGHT = {"start": (0, 0), "rollout": (1, 1), "update": (0, 0), "save": (1, 1)}
"""The step before the signal, and the one that this run saves."""
WRONG = ("a step is lost", "without a reason", "another exit code", "a process is left")


@pytest.fixture(scope="module")
def stops(tmp_path_factory) -> dict[tuple[str, str], dict]:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "run.py").write_text(RUN)
    runs = [*((phase, "right") for phase in RIGHT), *(("save", ends) for ends in WRONG)]
    given = {"out": str(folder), "words": [sys.executable, str(folder / "run.py")], "runs": runs}
    return dict(zip(runs, in_scripts(STOP, given), strict=True))


@pytest.mark.parametrize("phase", RIGHT)
def test_the_signal_is_sent_in_the_phase(stops, phase):
    found = stops[phase, "right"]
    assert (found["steps before"], found["saved"], found["exit"]) == (*RIGHT[phase], 143)
    assert found["last line"] == f"deltal train: stopped: SIGTERM in {phase}"
    assert found["right"]


@pytest.mark.parametrize("ends", WRONG)
def test_an_end_that_is_not_right_is_noticed(stops, ends):
    found = stops["save", ends]
    assert not found["right"]
    assert found["saved"] == (0 if ends == "a step is lost" else 1)
