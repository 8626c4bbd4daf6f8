"""Signals in the driver of a run: real ones, in a process of its own; the controllers and Ray are simulated, except in the last test."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import psutil
import pytest
from support import commands

FAKE = """
import json, sys, threading, time
from types import SimpleNamespace
from deltal_openrlhf.host import job_store, stop
from deltal_openrlhf.train import launch, signals
from deltal_openrlhf.train.stall import StallWatch

phase, steps = sys.argv[1], json.loads(sys.argv[2])
run, asked, for_ever = launch._Run(), threading.Event(), threading.Event()
job_store.get = lambda name: for_ever.wait() if phase == "Ray hangs" else steps and json.dumps(steps)
signals.ANSWER_WITHIN = 0.5
stop.ask_to_stop = lambda why, no_save: (print("asked:", why, *filter(None, [no_save]), flush=True), asked.set())
forbidden = {"may not save": lambda: "the folder is taken", "disk hangs": for_ever.wait}
last_save = SimpleNamespace(forbidden=forbidden.get(phase, lambda: None))

def work():
    if not phase.startswith("begins"):
        run.signals.watch(0.5 if "hangs" in phase else 60, lambda line: print(line, flush=True), last_save)
    print("ready", flush=True)
    if phase == "loses":
        with run.signals.kept():
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                print("lost", flush=True)
    if phase.endswith("turns it into an error"):
        try:
            time.sleep(60)
        except KeyboardInterrupt as interrupt:
            raise ValueError("no validator") from interrupt
    if phase.startswith("saves"):
        asked.wait()
        if phase == "saves, and a second signal is lost":
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                pass
        raise stop.Stopped("checkpoint global_step3 is saved in ckpt")
    if phase == "may not save":
        asked.wait()
        raise stop.Stopped("step 3 was the last; no checkpoint was saved: the folder is taken")
    if phase == "dies":
        asked.wait()
        raise OSError("disk")
    if phase == "ends":
        asked.wait()
        return
    if phase == "stalls":
        run.stall = StallWatch(0.3, lambda: "step 1", lambda why: run.signals.interrupt(why, 1))
    time.sleep(60)

sys.exit(run.guarded(work))
"""
SAYS = "SIGTERM: the run saves a checkpoint and ends, within 60 s (--deltal.grace); a second signal ends it at once"


@contextmanager
def driver(code: str, *arguments: str):
    command = [sys.executable, "-c", code, *arguments]
    with commands.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen, *sent: signal.Signals) -> tuple[int, list[str], str]:
    """Send the signals, each once the one before was heard; exit status, lines on stdout, and the last line on stderr."""
    said = [process.stdout.readline()]
    for number in sent:
        os.kill(process.pid, number)
        if number is not sent[-1]:
            said += [process.stdout.readline(), process.stdout.readline()]
            os.kill(process.pid, number)  # the same one again: the run goes on
            time.sleep(1.2)
    out, error = process.communicate(timeout=30)
    return process.returncode, [line.rstrip() for line in said] + out.splitlines(), (error.splitlines() or [""])[-1]


TERM, USR1, INT = signal.SIGTERM, signal.SIGUSR1, signal.SIGINT
STOPPED, SECOND = "deltal train: stopped: ", "a second signal (SIGUSR1): ended without saving; "


OWN, EARLIER, LOST, NONE, RESUMED = (0, 3, 3), (0, 3, 2), (0, 3, 0), (0, 0, 0), (2, 2, 2)
"""What the controllers have said: the step that the run began from, the last one finished, and the last one saved."""
ERROR = "turns it into an error"
LATE = "SIGTERM: not ended within 0.5 s (--deltal.grace); "


@pytest.mark.parametrize(
    ("phase", "steps", "sent", "code", "last"),
    [
        ("begins", None, [TERM], 143, "SIGTERM in the start; no step was finished, so nothing was saved"),
        ("loads", None, [USR1], 143, "SIGUSR1 in the start; no step was finished, so nothing was saved"),
        ("saves", OWN, [TERM], 143, "SIGTERM: checkpoint global_step3 is saved in ckpt"),
        (
            "saves, and a second signal is lost",
            OWN,
            [TERM, USR1],
            143,
            "SIGTERM: checkpoint global_step3 is saved in ckpt",
        ),
        ("may not save", LOST, [TERM], 1, "SIGTERM: step 3 was the last; no checkpoint was saved: the folder is taken"),
        ("dies", LOST, [TERM], 1, "SIGTERM: OSError: disk; step 3 was the last; no checkpoint was saved"),
        ("dies", EARLIER, [TERM], 143, "SIGTERM: OSError: disk; step 3 was the last; the last checkpoint is of step 2"),
        ("hangs", LOST, [TERM], 1, f"{LATE}step 3 was the last; no checkpoint was saved"),
        ("hangs", OWN, [TERM], 143, f"{LATE}step 3 was the last, and is saved"),
        (
            "hangs",
            RESUMED,
            [TERM],
            143,
            f"{LATE}no step was finished, so nothing was saved; the last checkpoint is of step 2",
        ),
        ("disk hangs", LOST, [TERM], 1, f"{LATE}step 3 was the last; no checkpoint was saved"),
        ("Ray hangs", OWN, [TERM], 1, f"{LATE}Ray does not say which steps were saved"),
        ("waits", EARLIER, [TERM, USR1], 143, f"{SECOND}step 3 was the last; the last checkpoint is of step 2"),
        ("waits", LOST, [TERM, USR1], 1, f"{SECOND}step 3 was the last; no checkpoint was saved"),
        ("waits", NONE, [INT], 130, "interrupted"),
        ("loses", NONE, [INT], 130, "interrupted"),
        (ERROR, NONE, [INT], 130, "interrupted"),
        (ERROR, EARLIER, [TERM, USR1], 143, f"{SECOND}step 3 was the last; the last checkpoint is of step 2"),
        (
            f"begins, {ERROR}",
            None,
            [TERM],
            143,
            "SIGTERM in the start; no step was finished, so nothing was saved",
        ),
        ("ends", OWN, [TERM], 0, None),
    ],
)
def test_what_a_signal_does(phase, steps, sent, code, last):
    with driver(FAKE, phase, json.dumps(steps)) as process:
        returned, out, error = ended(process, *sent)
    assert (returned, error) == (code, STOPPED + last if last else "")
    told = f"asked: {sent[0].name}" + " the folder is taken" * (phase == "may not save")
    is_told = not phase.startswith("begins") and phase not in ("loads", "disk hangs", "Ray hangs") and INT not in sent
    assert [line for line in out if line.startswith("asked")] == [told] * is_told
    assert (SAYS in out) is (TERM in sent and phase.startswith(("saves", "dies", "waits", "ends", ERROR)))
    assert any("ends without a save (the folder is taken)" in line for line in out) is (phase == "may not save")


def test_a_run_that_stands_still_ends_with_its_reason():
    with driver(FAKE, "stalls", "null") as process:
        returned, _, error = ended(process)
    assert returned == 1
    assert error == (
        f"{STOPPED}nothing was done for 0:00:00 (--deltal.stall_timeout 0.3), after: step 1; the stacks of 0 workers are in the log"
    )


RAY = """
import ctypes, os, sys, time, ray
from openrlhf.trainer.ppo_utils import samples_generator
from deltal_openrlhf.host import alive, process, stop
from deltal_openrlhf.host.stoppable import StoppableMixin
from deltal_openrlhf.train import launch
from deltal_openrlhf.train.stall import workers_stacks
from types import SimpleNamespace

class Host:
    wandb_logger = tensorboard_logger = None
    def __init__(self):
        self.args = SimpleNamespace(ckpt=SimpleNamespace(save_steps=9, disable_ds=False, path="ckpt"),
            logger=SimpleNamespace(logging_steps=1), eval=SimpleNamespace(dataset=None))
    def save_logs_and_checkpoints(self, step, logs, states):
        if step % self.args.ckpt.save_steps == 0:
            open("saved", "w").write(str(states))
    def fit(self):
        self.save_logs_and_checkpoints(4, {}, {"global_step": 4})
        samples_generator.ray.wait([never.remote(f"{os.getpid()} {os.getppid()}")])

class Controller(StoppableMixin, Host):
    pass

@ray.remote(num_cpus=0)
def never(pids):
    open("pids", "w").write(pids)
    os.rename("pids", "ready")
    while True:
        ctypes.PyDLL(None).sleep(600)  # holds Python's lock; a signal ends it

run = launch._Run()

def work():
    run.ray_started = False
    with run.signals.kept():
        ray.init(address="local", num_cpus=1, num_gpus=0, include_dashboard=False, object_store_memory=2**27, logging_level="ERROR",
            log_to_driver=False, runtime_env={"worker_process_setup_hook": process.SETUP_HOOK})
    run.signals.watch(60, lambda line: None, SimpleNamespace(forbidden=lambda: None))
    ref = ray.remote(num_cpus=0)(Controller).remote().fit.remote()
    while not os.path.exists("ready"):
        time.sleep(0.1)
    found = workers_stacks()
    print(*(sum(f"in {what}" in text for text in found.values()) for what in ("never", "fit")), alive.last_sign().split(",")[0], flush=True)
    ray.get(ref)

sys.exit(run.guarded(work))
"""


@pytest.mark.timeout(300)
def test_a_signal_to_all_processes_of_a_run_ends_none_but_the_driver_which_lets_it_save(tmp_path, monkeypatch):
    """As Slurm, systemd and `kill -- -PGID` send it. The controller waits for a response that never comes."""
    monkeypatch.chdir(tmp_path)
    with driver(RAY) as process:
        assert (
            process.stdout.readline() == "1 1 step 4\n"
        )  # stacks of the task that holds Python's lock, and of the controller; its last sign of life
        family = psutil.Process(process.pid).children(recursive=True)
        controller, raylet = (tmp_path / "ready").read_text().split()
        assert {int(controller), int(raylet)} <= {one.pid for one in family}
        for one in family:
            one.send_signal(TERM)
            one.send_signal(USR1)
        psutil.wait_procs(family, timeout=1)
        assert all(psutil.pid_exists(int(pid)) for pid in (controller, raylet))
        os.kill(process.pid, TERM)
        out, error = process.communicate(timeout=120)
        assert process.returncode == 143, error
        assert re.search(
            rf"^{STOPPED}SIGTERM: checkpoint global_step4 is saved in ckpt; .*--ckpt.load_enable resumes from it$",
            error.splitlines()[-1],
        )
        assert (tmp_path / "saved").read_text() == "{'global_step': 4}"
        assert psutil.wait_procs(family, timeout=10)[1] == []
