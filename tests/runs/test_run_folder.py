"""metrics.jsonl, the console's lines, and the reason of a stop."""

import json
import subprocess
import sys
import time

import psutil
import ray

from deltal_openrlhf.runs.metrics_file import MetricsFile, read_metrics
from deltal_openrlhf.train.console import step_line
from deltal_openrlhf.train.reasons import reason


def rows(path):
    return [row["step"] for row in read_metrics(str(path))]


def test_a_resumed_run_drops_the_steps_after_its_checkpoint_and_half_a_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(str(tmp_path), resumed_step=0)
    for step in (1, 2, 3):
        first.append({"step": step})
    with open(path, "a") as file:
        file.write('{"step": 4, "rewa')  # killed in mid-write
    assert rows(path) == [1, 2, 3]
    second = MetricsFile(str(tmp_path), resumed_step=2)
    second.append({"step": 3, "again": True})
    assert rows(path) == [1, 2, 3]
    assert read_metrics(str(path))[-1] == {"step": 3, "again": True}


def test_a_fresh_run_moves_an_older_file_aside(tmp_path):
    for run, begun in ((7, 111.5), (8, 222.5), (1, 333.5)):
        MetricsFile(str(tmp_path), resumed_step=0).append({"step": run, "time": begun})
    assert rows(tmp_path / "metrics.jsonl") == [1]
    assert rows(tmp_path / "metrics.111.jsonl") == [7]
    assert rows(tmp_path / "metrics.222.jsonl") == [8]


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


def test_rows_are_json(tmp_path):
    MetricsFile(str(tmp_path / "new" / "folder"), resumed_step=0).append({"step": 1, "kl": float("nan"), "x": 0.5})
    assert json.loads((tmp_path / "new" / "folder" / "metrics.jsonl").read_text()) == {
        "step": 1,
        "kl": None,
        "x": 0.5,
    }


def test_a_run_without_signal_says_so_once():
    from deltal_openrlhf.runs.metrics_file import SILENT_STEPS, silence

    silent = {"deltal/groups_without_signal": 1.0, "grade/unparsable": 0.94, "rollout/truncated_rate": 0.0}
    rows = [silent] * (SILENT_STEPS + 3)
    said = [silence(rows[:number]) for number in range(1, len(rows) + 1)]
    assert [text is not None for text in said] == [number == SILENT_STEPS for number in range(1, len(rows) + 1)]
    assert "no prompt gave a signal in 5 steps" in said[4] and "94% without an answer to grade" in said[4]
    assert silence([silent] * 4 + [{"deltal/groups_without_signal": 0.9}]) is None
    assert silence([{}] * 9) is None
