"""What a run says: a line a step, and the reason of a stop; and no process outlives it."""

import subprocess
import sys
import time

import psutil
import ray

from deltal_openrlhf.train.console import step_line
from deltal_openrlhf.train.reasons import reason


def test_a_step_is_one_line_with_the_time_left():
    row = {
        "step": 3,
        "total_steps": 30,
        "rollout/reward_mean": 0.25,
        "deltal/response_length_mean": 41.6,
        "deltal/response_length_p95": 130.0,
        "deltal/ess": 99.7,
        "deltal/grad_norm": 0.02361,
        "timing/step_total": 2.71,
    }
    line = step_line(row, 75.4)
    assert line == "step 3/30  reward 0.250  length 42 (p95 130)  ess 100  grad norm 0.0236  2.7 s  0:01:15 left"
    assert step_line(row | {"total_steps": None}, None).startswith("step 3  ")


def test_reasons_of_plain_and_remote_errors():
    assert reason(ValueError("two\nlines")) == "ValueError: two lines"
    assert reason(KeyboardInterrupt()) == "KeyboardInterrupt"

    @ray.remote
    def fails():
        raise RuntimeError("the loss is nan on rank 1")

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        ray.get(fails.remote())
    except Exception as error:
        assert reason(error) == "RuntimeError: the loss is nan on rank 1"
    finally:
        ray.shutdown()


def test_a_worker_that_died_is_named_with_its_rank(tmp_path):
    log = tmp_path / "train.log"
    log.write_text(
        "\x1b[36m(A pid=12)\x1b[0m INFO rank 0: ∆L is active\n\x1b[36m(A pid=345)\x1b[0m INFO actor.py:19] rank 1: ∆L is active\n"
    )
    text = (
        "The actor died unexpectedly before finishing this task.\n\tclass_name: PolicyModelActor\n\tactor_id: ab\n\tpid: 345\n"
        "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: ...\n"
    )
    said = reason(RuntimeError(text), log)
    assert (
        said == "worker PolicyModelActor (pid 345, rank 1) died: The actor is dead because its worker process has died"
    )


def test_descendants_that_outlive_their_parent_are_ended(tmp_path):
    """A child starts a grandchild and is killed; the tracker ends the grandchild, which init has adopted."""
    note = tmp_path / "pid"
    script = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", '''
import subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open({str(note)!r}, "w").write(str(grandchild.pid))
time.sleep(60)
'''])
from deltal_openrlhf.train.processes import ProcessTracker
tracker = ProcessTracker(every=0.1)
import os
while not os.path.exists({str(note)!r}):
    time.sleep(0.05)
time.sleep(0.5)
child.kill(); child.wait()
tracker.stop_ray(grace=0.5)
print("done")
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ended.stdout.strip() == "done", ended.stderr
    time.sleep(0.2)
    pid = int(note.read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
