"""Runs functions on several ranks, each in a process of its own, with a hard time limit and nothing left behind.

Ranks use gloo without GPUs and NCCL with them. If there are more ranks than GPUs, they share the GPUs. NCCL refuses two ranks on one GPU of
one host, so each rank claims to be a host of its own, and they use loopback sockets. That is slow, but correct for a check.
"""

import contextlib
import json
import os
import pickle
import signal
import socket
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from deltal_openrlhf import cpu
from deltal_openrlhf.host.process import prepare
from deltal_openrlhf.parity import forkserver
from deltal_openrlhf.runs.ports import hold_port
from deltal_openrlhf.standins import ray_vllm

GRACE = 2.0
"""Seconds in which the other ranks can still say why, once one has failed: the first to fail is not always the cause."""


LEAVE = 5.0
"""Seconds in which a rank ends by itself and gives back what it holds. DeepSpeed and torch take about one."""


class RankFailed(RuntimeError):
    """A rank raised, died, or took too long."""


class RankTimeout(RankFailed):
    """Ranks took too long."""


class RankPool:
    """`world` processes that serve calls until the block ends. They start with the first call, and anew after one that failed.

    console: a file to whose end their output goes; None leaves it on ours.
    """

    def __init__(self, world: int, console: Path | None = None) -> None:
        self.world, self._console = world, console
        self._processes: list[Any] = []
        self._connections: list[Connection] = []
        self._port: socket.socket | None = None

    def __enter__(self) -> "RankPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, grace: float = LEAVE) -> None:
        """End every process; those that have not ended by themselves after `grace` seconds are killed. Idempotent."""
        for connection in self._connections:
            connection.close()  # which a rank takes for the end
        end = time.monotonic() + grace
        for process in self._processes:
            process.join(max(0.0, end - time.monotonic()))
            process.kill()
            process.join()
        self._processes, self._connections = [], []
        if self._port is not None:
            self._port.close()

    def call(self, function: Callable, *arguments: Any, timeout: float, last: bool = False) -> list[Any]:
        """[function(rank, *arguments) for every rank]. function: of a module; returns JSON values. timeout: seconds, a start included.

        last: a rank ends when it is done, so that others that wait for it in a collective hear of it.

        Raises RankFailed past the time limit or if a rank raises or dies, RuntimeError where torch was built for GPUs and sees none.
        """
        end = time.monotonic() + timeout
        try:
            if not self._processes:
                self._start(end)
            answers = self._answers(pickle.dumps((function, arguments, last)), end)
            errors = sorted((a for a in answers.values() if "error" in a), key=lambda a: (not a["died"], a["time"]))
            if errors:
                raise RankFailed(errors[0]["error"])
            if len(answers) < self.world:
                raise TimeoutError
        except TimeoutError:
            self.close(grace=0.0)
            name = getattr(function, "__name__", function)
            raise RankTimeout(f"{name} on {self.world} rank(s) took longer than {timeout:g} s") from None
        except BaseException:
            self.close(grace=0.0)
            raise
        return [answers[rank]["result"] for rank in range(self.world)]

    def _start(self, end: float) -> None:
        """Raises TimeoutError past `end`, RankFailed if the server died."""
        gpus, self._port = gpus_to_use(), hold_port("127.0.0.1")
        port = self._port.getsockname()[1]
        context = forkserver.context()
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open(self._console, "ab")) if self._console else None
            output = {
                number: stack.enter_context(forkserver.duplicate(file.fileno() if file else number))
                for number in (1, 2)
            }
            for rank in range(self.world):
                here, there = context.Pipe()
                self._connections.append(here)
                environment = dict(os.environ) | rank_environment(rank, self.world, port, gpus)
                with there:
                    process = context.Process(target=_serve, args=(rank, gpus, there, environment, output))
                    try:
                        forkserver.start(process, end)
                    except (EOFError, ConnectionError) as error:
                        raise RankFailed(f"the server of rank processes died: {error}") from error
                self._processes.append(process)

    def _answers(self, call: bytes, end: float) -> dict[int, dict]:
        """What the ranks answer, until all have, one has failed and the others had their time to say why, or `end`."""
        for connection in self._connections:
            with contextlib.suppress(BrokenPipeError):  # it has died, as the answer will say
                connection.send_bytes(call)
        answers: dict[int, dict] = {}
        waiting: dict[Any, int] = dict(zip(self._connections, range(self.world), strict=True))
        while waiting and (ready := wait(list(waiting), max(0.0, end - time.monotonic()))):
            for answered in ready:
                rank = waiting.pop(answered)
                answers[rank] = _receive(self._connections[rank], rank, self._processes[rank])
                if "error" in answers[rank]:
                    end = min(end, time.monotonic() + GRACE)
        return answers


def run_on_ranks(
    world: int, function: Callable, *arguments: Any, timeout: float, console: Path | None = None
) -> list[Any]:
    """RankPool.call in processes of its own."""
    with RankPool(world, console) as pool:
        return pool.call(function, *arguments, timeout=timeout, last=True)


def gpus_to_use() -> int:
    """GPUs that ranks are spread over; 0 where torch was built for CPUs. Raises RuntimeError for a torch for GPUs that sees none."""
    if cpu.is_needed():
        return 0
    gpus = torch.cuda.device_count()
    if not gpus:
        raise RuntimeError("torch was built for GPUs and sees none: `deltal doctor` says more")
    return gpus


def rank_environment(rank: int, world: int, port: int, gpus: int) -> dict[str, str]:
    """Environment variables of one rank. gpus: 0 for a CPU run."""
    variables = {} if gpus else cpu.environment()
    variables |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_RANK": str(rank % gpus if gpus else rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    if 0 < gpus < world:
        variables |= {"NCCL_HOSTID": f"rank{rank}", "NCCL_SOCKET_IFNAME": "lo", "NCCL_IB_DISABLE": "1"}
    return variables


def _serve(
    rank: int, gpus: int, connection: Connection, environment: dict[str, str], output: dict[int, Connection]
) -> None:
    forkserver.end_with_parent()
    forkserver.become(environment, output)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    ready = last = False
    while not last:
        try:
            call = connection.recv_bytes()
        except EOFError:
            return
        try:
            if not ready:
                _make_ready(rank, gpus)
                ready = True
            function, arguments, last = pickle.loads(call)  # its module is imported here, after the stand-ins
            answer = json.dumps({"result": function(rank, *arguments)})
        except BaseException:  # noqa: BLE001 - whatever it is, the parent raises it
            answer = json.dumps({"error": f"on rank {rank}:\n{traceback.format_exc()}"})
        connection.send_bytes(answer.encode())


def _make_ready(rank: int, gpus: int) -> None:
    prepare()
    ray_vllm.install()
    torch.set_num_threads(1)
    if gpus:
        torch.cuda.set_device(rank % gpus)


def _receive(connection: Connection, rank: int, process: Any) -> dict[str, Any]:
    """What a rank answered: result, or error with died and time."""
    try:
        answer = json.loads(connection.recv_bytes())
    except (EOFError, ConnectionError):
        process.join()
        code = process.exitcode
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return {"error": f"rank {rank} ended with {how}", "died": True, "time": time.monotonic()}
    return answer | {"died": False, "time": time.monotonic()}
