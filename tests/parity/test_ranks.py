"""Processes for ranks: what they are told of GPUs, what their ends mean, and that none is left."""

import ctypes
import gc
import glob
import importlib
import multiprocessing.forkserver
import os
import runpy
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from deltal_openrlhf import cpu
from deltal_openrlhf.host import process
from deltal_openrlhf.parity import forkserver, spawn


def square(rank: int, number: int) -> dict:
    return {"rank": rank, "square": number**2, "pid": os.getpid(), "device": os.environ.get("DS_ACCELERATOR")}


def raise_on_one(rank: int) -> None:
    if rank == 1:
        raise ValueError("what went wrong")
    time.sleep(200)


def die_on_one(rank: int) -> None:
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    raise ConnectionError("the other rank is gone")


def die(rank: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(rank: int) -> None:
    time.sleep(200)


def test_a_pool_serves_several_calls_in_the_same_processes():
    with spawn.RankPool(2) as pool:
        first, second = (pool.call(square, number, timeout=60) for number in (3, 4))
    assert [row["square"] for row in first + second] == [9, 9, 16, 16]
    assert [row["rank"] for row in first] == [0, 1]
    assert [row["pid"] for row in first] == [row["pid"] for row in second]
    assert not any(psutil.pid_exists(row["pid"]) for row in first)


def test_a_pool_goes_on_in_new_processes_after_a_failure():
    with spawn.RankPool(1) as pool:
        with pytest.raises(spawn.RankFailed, match="SIGKILL"):
            pool.call(die, timeout=60)
        assert pool.call(square, 5, timeout=60)[0]["square"] == 25


def test_what_a_rank_raised_or_died_of_is_said_at_once():
    begun = time.monotonic()
    with pytest.raises(spawn.RankFailed, match=r"(?s)on rank 1:.*ValueError: what went wrong"):
        spawn.run_on_ranks(2, raise_on_one, timeout=100)
    with pytest.raises(spawn.RankFailed, match="rank 1 ended with SIGKILL"):
        spawn.run_on_ranks(2, die_on_one, timeout=100)
    with pytest.raises(spawn.RankFailed, match=r"sleep on 1 rank\(s\) took longer than 3 s"):
        spawn.run_on_ranks(1, sleep, timeout=3)
    assert time.monotonic() - begun < 90


@pytest.fixture
def plant(tmp_path, monkeypatch):
    """plant(code): a server of its own for this test, which imports a module with this code."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(forkserver, "PRELOAD", "planted_preload")
    server = multiprocessing.forkserver.ForkServer()
    monkeypatch.setattr(multiprocessing.forkserver, "_forkserver", server)
    for name in ("ensure_running", "connect_to_new_process", "set_forkserver_preload"):
        monkeypatch.setattr(multiprocessing.forkserver, name, getattr(server, name))
    yield (tmp_path / "planted_preload.py").write_text
    forkserver.stop()


@pytest.mark.cpu_build
def test_the_time_limit_covers_a_server_that_hangs_at_its_start(plant):
    plant("import time; time.sleep(60)")
    begun = time.monotonic()
    with pytest.raises(spawn.RankTimeout, match=r"square on 2 rank\(s\) took longer than 1 s"):
        spawn.run_on_ranks(2, square, 3, timeout=1)
    assert time.monotonic() - begun < 30
    from support.processes import running_children  # not above: ranks import this module without it

    assert not [words for _, words in running_children() if "planted_preload" in words]
    plant("")
    assert spawn.run_on_ranks(1, square, 3, timeout=60)[0]["square"] == 9


@pytest.mark.cpu_build
def test_a_server_that_dies_at_its_start_is_said(plant):
    plant("raise RuntimeError('planted')")
    with pytest.raises(spawn.RankFailed, match="the server of rank processes died: "):
        spawn.run_on_ranks(1, square, 3, timeout=60)


def test_an_import_that_raises_anything_ends_no_server(monkeypatch):
    asked = []

    def fail(name: str = "prepare") -> None:
        asked.append(name)
        raise RuntimeError("planted")

    monkeypatch.setattr(process, "prepare", fail)
    monkeypatch.setattr(importlib, "import_module", fail)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    assert list(runpy.run_module(forkserver.PRELOAD)["MODULES"]) == asked[1:]
    assert asked[0] == "prepare"


def hold_the_interpreter(rank: int) -> None:
    ctypes.PyDLL(None).sleep(60)


@pytest.mark.parametrize(("context", "function"), [("forkserver", "sleep"), ("spawn", "hold_the_interpreter")])
@pytest.mark.cpu_build
def test_ranks_end_with_the_process_that_started_them(context, function):
    code = """
        import multiprocessing, sys
        from deltal_openrlhf.parity import forkserver, spawn
        if sys.argv[2] == "spawn":  # as where torch was built for GPUs
            forkserver.context = lambda: multiprocessing.get_context("spawn")
        sys.path.insert(0, sys.argv[1])
        import test_ranks
        if __name__ == "__main__":
            with spawn.RankPool(1) as pool:
                pool.call(test_ranks.square, 1, timeout=100)
                print(pool._processes[0].pid, flush=True)
                pool.call(getattr(test_ranks, sys.argv[3]), timeout=60)
    """
    words = [sys.executable, "-c", textwrap.dedent(code), os.path.dirname(__file__), context, function]
    parent = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(parent.stdout.readline()))
    time.sleep(1)  # the rank is in the function
    parent.kill()
    parent.wait()
    child.wait(timeout=10)
    assert not child.is_running()


def look(rank: int) -> dict:
    print("said on a rank")
    threads = [Path(path).read_text().strip() for path in glob.glob(f"/proc/{os.getppid()}/task/*/comm")]
    return {"planted": os.environ.get("PLANTED"), "host": "openrlhf" in sys.modules, "threads": threads}


@pytest.mark.cpu_build
def test_ranks_are_forked_warm_from_one_thread_into_the_environment_of_now(monkeypatch, capfd):
    assert spawn.run_on_ranks(1, look, timeout=60)[0]["planted"] is None
    monkeypatch.setenv("PLANTED", "since the server started")
    capfd.readouterr()
    (found,) = spawn.run_on_ranks(1, look, timeout=60)
    assert found["planted"] == "since the server started" and found["host"]
    # pyarrow's allocator has a thread, and handles forks itself.
    assert sorted(found["threads"]) in (["python"], ["jemalloc_bg_thd", "python"])
    assert capfd.readouterr().out == "said on a rank\n"


def test_ranks_of_a_cpu_run_are_told_so():
    variables = spawn.rank_environment(1, 2, 1234, gpus=0)
    assert cpu.environment().items() <= variables.items()
    assert (variables["RANK"], variables["LOCAL_RANK"], variables["MASTER_PORT"]) == ("1", "1", "1234")
    assert "NCCL_HOSTID" not in variables


@pytest.mark.parametrize("gpus", [1, 2, 8])
def test_ranks_of_a_gpu_run_hear_nothing_of_the_cpu_and_share_gpus(gpus):
    ranks = [spawn.rank_environment(rank, 4, 1234, gpus) for rank in range(4)]
    assert not any(cpu.environment().keys() & variables for variables in ranks)
    assert [variables["LOCAL_RANK"] for variables in ranks] == [str(rank % gpus) for rank in range(4)]
    hosts = [variables.get("NCCL_HOSTID") for variables in ranks]
    assert hosts == ([None] * 4 if gpus >= 4 else ["rank0", "rank1", "rank2", "rank3"])


def test_a_torch_for_gpus_that_sees_none_is_said(monkeypatch):
    monkeypatch.setattr(cpu, "is_needed", lambda: False)
    with pytest.raises(RuntimeError, match="built for GPUs and sees none"):
        spawn.run_on_ranks(1, square, 3, timeout=60)


def wait_for_the_other(rank: int) -> str:
    import torch.distributed as dist

    dist.init_process_group("gloo")
    if rank == 1:
        return "stopped"
    try:
        dist.barrier()
    except RuntimeError:
        return "heard of it"
    return "waited for nobody"


def test_a_rank_that_is_done_leaves_none_waiting_for_it():
    assert spawn.run_on_ranks(2, wait_for_the_other, timeout=60) == ["heard of it", "stopped"]
