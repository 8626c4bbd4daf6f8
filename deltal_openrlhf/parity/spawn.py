"""Run a function on several ranks, each in a process of its own: with a hard time limit, and nothing left behind."""

import json
import os
import socket
import tempfile
import time
from typing import Any

import torch
import torch.multiprocessing as mp

from deltal_openrlhf import cpu


def run_on_ranks(world: int, function, *arguments: Any, timeout: float) -> list[Any]:
    """[function(rank, *arguments) for every rank] in one process group (gloo without a GPU).

    function is a module-level function that returns JSON values. Raises RuntimeError after `timeout` seconds, and what the function
    raised otherwise; in both cases every process is gone.
    """
    with tempfile.TemporaryDirectory() as folder:
        context = mp.spawn(_enter, (world, _free_port(), function, folder, arguments), nprocs=world, join=False)
        try:
            end = time.monotonic() + timeout
            while not context.join(timeout=1.0):
                if time.monotonic() > end:
                    raise RuntimeError(f"{function.__name__} on {world} ranks took longer than {timeout:.0f} s")
        finally:
            for process in context.processes:
                if process.is_alive():
                    process.kill()
                process.join()
        return [_read(folder, rank) for rank in range(world)]


def _enter(rank: int, world: int, port: int, function, folder: str, arguments: tuple) -> None:
    os.environ.update(cpu.environment())
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    cpu.install()
    torch.set_num_threads(1)
    result = function(rank, *arguments)
    with open(os.path.join(folder, f"{rank}.json"), "w", encoding="utf-8") as file:
        json.dump(result, file)


def _read(folder: str, rank: int) -> Any:
    with open(os.path.join(folder, f"{rank}.json"), encoding="utf-8") as file:
        return json.load(file)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
