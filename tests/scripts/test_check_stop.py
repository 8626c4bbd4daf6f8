"""scripts/check_stop.py on a made-up run: where it sends its signal, and which ends it calls right. No pipeline is started."""

import sys

import pytest
from support.scripts import in_scripts

RUN = """
import json, os, signal, subprocess, sys, time
from pathlib import Path

out, ends = Path(sys.argv[1]), sys.argv[2]
hf, actor = out / "hf", out / "ckpt" / "_actor"
step = 0

def save(step):
    (actor / "latest").write_text(f"global_step{step}")

def told(*_):
    if ends != "a step is lost":
        save(step)
    print("deltal train: stopped: SIGTERM: saved" if ends != "without a reason" else "ended", flush=True)
    os._exit(1 if ends == "another exit code" else 143)

signal.signal(signal.SIGTERM, told)
for folder in (hf / "rollouts", actor):
    folder.mkdir(parents=True, exist_ok=True)
if ends == "a process is left":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("deltal train: starting", flush=True)
time.sleep(0.25)
for number in range(1, 20):
    time.sleep(0.25)
    (hf / "rollouts" / f"step_{number:06d}.jsonl").touch()
    time.sleep(0.25)
    (actor / ".saving").mkdir()
    with open(hf / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": number, "of": "made up"}) + "\\n")
    step = number
    time.sleep(0.25)
    (actor / ".saving").rmdir()
"""
STOP = """
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import check_stop
check_stop.PHASES = dict.fromkeys(check_stop.PHASES, 0.1)
check_stop.psutil.wait_procs = lambda family, timeout, wait=check_stop.psutil.wait_procs: wait(family, timeout=1)

def stopped(run):
    phase, ends = run
    out = Path(data["out"]) / f"{phase} {ends}"
    return check_stop.stop_once([*data["words"], str(out), ends], out, phase, random.Random(0))

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
    assert found["last line"] == "deltal train: stopped: SIGTERM: saved"
    assert found["right"]


@pytest.mark.parametrize("ends", WRONG)
def test_an_end_that_is_not_right_is_noticed(stops, ends):
    found = stops["save", ends]
    assert not found["right"]
    assert found["saved"] == (0 if ends == "a step is lost" else 1)
