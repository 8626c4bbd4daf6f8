"""A run takes away what its killed processes left in /dev/shm and in the temporary folder, and nothing of anybody else's."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deltal_openrlhf.runs.leftovers import Leftovers

# A process of vLLM's: a semaphore and shared memory of multiprocessing, a socket, and a file in the temporary folder. Then it is killed.
CHILD = """
import multiprocessing, os, signal, socket, sys, tempfile, uuid
from multiprocessing import resource_tracker, shared_memory
from deltal_openrlhf.runs import leftovers

if "marked" in sys.argv:
    leftovers.mark(temporary_files=True)
semaphore = multiprocessing.get_context("spawn").Lock()
memory = shared_memory.SharedMemory(create=True, size=64)
place = os.environ.get("VLLM_RPC_BASE_PATH", tempfile.gettempdir())
path = f"{place}/{uuid.uuid4()}"
socket.socket(socket.AF_UNIX).bind(path)
file = f"{tempfile.gettempdir()}/vllm_dist_{uuid.uuid4().hex}"
open(file, "w").close()
print(f"/dev/shm/sem.{semaphore._semlock.name[1:]}", f"/dev/shm/{memory.name}", path, file, flush=True)
os.kill(resource_tracker._resource_tracker._pid, signal.SIGKILL)
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(variables: dict[str, str], *arguments: str) -> list[Path]:
    """What a killed process left."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return [Path(word) for word in done.stdout.split()]


@pytest.fixture
def temporary(tmp_path_factory, monkeypatch):
    """A temporary folder of this test's own, with a short path."""
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield folder


def test_only_what_this_run_left_is_removed(temporary):
    run, neighbour = Leftovers(), Leftovers()
    ours = killed({"TMPDIR": temporary, **run.variables()}, "marked")
    neighbours = killed({"TMPDIR": temporary, **neighbour.variables()}, "marked")
    strangers = killed({"TMPDIR": temporary})
    try:
        assert all(path.exists() for path in (*ours, *neighbours, *strangers))
        run.remove()
        assert not any(path.exists() for path in (run.folder, *ours))
        assert all(path.exists() for path in (*neighbours, *strangers))
    finally:
        neighbour.remove()
        for path in strangers:
            path.unlink()
    assert not any(path.exists() for path in neighbours)


def test_the_next_run_removes_what_a_killed_driver_left(temporary):
    make = "import os, signal; from deltal_openrlhf.runs.leftovers import Leftovers; run = Leftovers(); print(run.folder, flush=True); "
    words = [sys.executable, "-c", make + "os.kill(os.getpid(), signal.SIGKILL)"]
    dead = subprocess.run(words, env={**os.environ, "TMPDIR": temporary}, capture_output=True, text=True).stdout.strip()
    left = killed({"TMPDIR": temporary, "DELTAL_RUN_FOLDER": dead}, "marked")
    assert Path(dead).is_dir() and all(path.exists() for path in left)
    living = Leftovers()
    assert not any(path.exists() for path in (Path(dead), *left))
    Leftovers().remove()
    assert living.folder.is_dir()  # as long as its driver is there
    living.remove()


def test_a_process_on_another_machine_is_left_as_it_is(temporary):
    left = killed({"TMPDIR": temporary, "DELTAL_RUN_FOLDER": "/tmp/deltal-run-elsewhere"}, "marked")
    assert all("deltal-run" not in str(path) for path in left)
    for path in left:
        path.unlink()
