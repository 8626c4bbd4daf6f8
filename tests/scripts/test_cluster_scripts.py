"""scripts/cluster with stand-ins for Ray, Slurm and deltal: who is started where, with which arguments, and what is left behind."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts" / "cluster"


@pytest.fixture
def clone(tmp_path) -> Path:
    """A folder like a clone of the repository: the scripts, and .venv/bin with programs that write their arguments to `calls`."""
    shutil.copytree(SCRIPTS, tmp_path / "scripts" / "cluster")
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)

    def program(name: str, text: str) -> None:
        path = programs / name
        path.write_text(f'#!/usr/bin/env bash\necho "{name} $*" >> {tmp_path}/calls\n{text}\n')
        path.chmod(0o755)

    program("ray", "pwd")
    program("srun", f"echo $$ >> {tmp_path}/steps; exec sleep 300")
    program("scontrol", "printf 'node1\\nnode2\\nnode3\\n'")
    program("deltal", 'echo "$RAY_ADDRESS"; exit 3')
    return tmp_path


def inherited() -> dict[str, str]:
    """Without the variable that names another environment than the clone's."""
    return {name: value for name, value in os.environ.items() if name != "DELTAL_VENV"}


def run(clone: Path, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    environment = {**inherited(), "PATH": f"{clone}/.venv/bin:{os.environ['PATH']}", **variables}
    command = ["bash", str(clone / "scripts" / "cluster" / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, cwd="/")


def calls(clone: Path) -> list[str]:
    return (clone / "calls").read_text().splitlines()


def running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("arguments", [(), ("worker",), ("wait", "node1"), ("tail",)], ids=str)
def test_usage(clone, arguments):
    process = run(clone, "ray.sh", *arguments)
    assert process.returncode == 2
    assert "ray.sh head [flags of ray start]" in process.stderr


def test_a_head_starts_in_the_clones_folder(clone):
    process = run(clone, "ray.sh", "head", "--num-gpus", "2")
    assert calls(clone) == ["ray start --head --port 6379 --block --num-gpus 2"]
    assert process.stdout == f"{clone}\n"


def test_another_environment_is_taken_where_it_is_named(clone, tmp_path_factory):
    other = tmp_path_factory.mktemp("environment")
    (clone / ".venv" / "bin").rename(other / "bin")
    assert run(clone, "ray.sh", "head", DELTAL_VENV=str(other)).returncode == 0
    assert calls(clone) == ["ray start --head --port 6379 --block"]


def test_a_worker_joins_the_head_once_it_listens(clone):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        command = ["bash", str(clone / "scripts" / "cluster" / "ray.sh"), "worker", "127.0.0.1"]
        process = subprocess.Popen(command, env={**inherited(), "RAY_PORT": str(port)})
        try:
            time.sleep(1)
            assert not (clone / "calls").exists()  # bound, and not listening yet
            free.listen()
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
            process.wait()
    assert calls(clone) == [f"ray start --address 127.0.0.1:{port} --block"]


def test_a_slurm_job_starts_ray_on_every_node_and_ends_with_deltals_status(clone):
    waits = clone / "scripts" / "cluster" / "ray.sh"
    waits.write_text(f'echo "ray.sh $*" >> {clone}/calls; sleep 1\n')
    process = run(
        clone,
        "train.sbatch",
        *("--config", "a b.yaml"),
        SLURM_SUBMIT_DIR=str(clone),
        SLURM_JOB_NODELIST="node[1-3]",
    )
    assert (process.returncode, process.stdout) == (3, "node1:6379\n")
    srun = "srun --overlap --nodes 1 --ntasks 1 --nodelist {} bash scripts/cluster/ray.sh {}"
    found = calls(clone)
    assert found[0] == "scontrol show hostnames node[1-3]"
    assert sorted(found[1:5]) == sorted(
        [
            "ray.sh wait node1 3",
            srun.format("node1", "head"),
            srun.format("node2", "worker node1"),
            srun.format("node3", "worker node1"),
        ]
    )
    assert found[5:] == ["deltal train --config a b.yaml --ckpt.load_enable"]
    check_steps_end(clone)


def check_steps_end(clone: Path) -> None:
    steps = [int(pid) for pid in (clone / "steps").read_text().split()]
    assert len(steps) == 3
    wait_until(lambda: not any(map(running, steps)), "end of the job's steps")


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("sent", "in_training", "status", "requeued"),
    [
        (signal.SIGUSR1, True, 143, True),
        (signal.SIGUSR1, True, 1, False),
        (signal.SIGTERM, True, 143, False),
        (signal.SIGUSR1, False, 143, True),
    ],
    ids=["time limit", "time limit and a full disk", "preempted", "time limit before the training"],
)
def test_a_slurm_job_that_is_told_to_stop_lets_the_run_save(clone, sent, in_training, status, requeued):
    waits = clone / "scripts" / "cluster" / "ray.sh"
    waits.write_text("" if in_training else f"touch {clone}/waits; sleep 60\n")
    deltal = clone / ".venv" / "bin" / "deltal"
    # The real one takes its time to save; a signal that comes meanwhile must not end the job before it.
    saves = f"trap '' USR1 TERM; echo got $1 >> {clone}/calls; sleep 0.5; echo saved >> {clone}/calls; exit {status}"
    deltal.write_text(
        f"#!/usr/bin/env bash\nsaves() {{ {saves}; }}\ntrap 'saves USR1' USR1\ntrap 'saves TERM' TERM\ntouch {clone}/trains\n"
        "for _ in {1..300}; do sleep 0.1; done\n"
    )
    environment = {
        **{name: value for name, value in os.environ.items() if name != "DELTAL_VENV"},
        **{"PATH": f"{clone}/.venv/bin:{os.environ['PATH']}", "SLURM_SUBMIT_DIR": str(clone)},
        **{"SLURM_JOB_NODELIST": "node[1-3]", "SLURM_JOB_ID": "7"},
    }
    with subprocess.Popen(["bash", str(clone / "scripts" / "cluster" / "train.sbatch")], env=environment) as job:
        try:
            wait_until((clone / ("trains" if in_training else "waits")).exists, "start")
            steps = clone / "steps"
            wait_until(lambda: steps.exists() and len(steps.read_text().split()) == 3, "start of the steps")
            job.send_signal(sent)
            time.sleep(0.2)
            job.send_signal(signal.SIGTERM)
            assert job.wait(timeout=20) == status
        finally:
            job.kill()
    found = calls(clone)
    told = [line for line in found if line.startswith("got") or line == "saved"]
    assert told == ([f"got {sent.name.removeprefix('SIG')}", "saved"] if in_training else [])
    assert ("scontrol requeue 7" in found) is requeued
    check_steps_end(clone)


def test_ray_outlives_the_signals_of_slurm_until_the_job_has_saved(clone):
    (clone / ".venv" / "bin" / "ray").write_text(f"#!/usr/bin/env bash\necho $$ > {clone}/ray.pid\nexec sleep 60\n")
    command = ["bash", str(clone / "scripts" / "cluster" / "ray.sh"), "head"]
    environment = {name: value for name, value in os.environ.items() if name != "DELTAL_VENV"}
    with subprocess.Popen(command, env={**environment, "RAY_ENDS_ON": "USR2"}) as step:
        try:
            wait_until(lambda: (clone / "ray.pid").exists() and (clone / "ray.pid").read_text(), "start of Ray")
            ray = psutil.Process(int((clone / "ray.pid").read_text()))
            for number in (signal.SIGTERM, signal.SIGUSR1):
                step.send_signal(number)
            with pytest.raises(subprocess.TimeoutExpired):
                step.wait(timeout=0.5)
            assert ray.is_running()
            step.send_signal(signal.SIGUSR2)
            assert step.wait(timeout=20) == 143
            assert not running(ray.pid)
        finally:
            step.kill()


def test_a_job_script_outside_of_slurm_says_so(clone):
    process = run(clone, "train.sbatch", SLURM_SUBMIT_DIR="")
    assert process.returncode == 1
    assert "submit this script with sbatch" in process.stderr
