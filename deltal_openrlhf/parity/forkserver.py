"""Processes on CPUs that start with the host already imported: forked from a server that imports it once (multiprocessing's own).

An import of torch, DeepSpeed, transformers and OpenRLHF takes nine core-seconds; a fork takes a fraction of one. What a fork could break:

- Threads do not survive a fork, and a lock that one of them holds stays locked. The server runs no tensor operation, starts no thread,
  neither Ray nor gRPC, and has OMP_NUM_THREADS=1. One native thread is known, that of pyarrow's jemalloc, which handles forks itself.
- CUDA does not survive a fork once it is initialised. Where torch was built for GPUs there is no server: processes are spawned.
- The server keeps the environment of its start. It is started with the CPU's variables (cpu.environment()), because libraries read them
  when they are imported. Each process then takes over environment, output and working folder of the process that asked for it.
- numpy's global generator would be in the same state in every process: each seeds its own. (Python's does so itself.)
- The parent of a forked process is the server, and the server lives while one of its processes does. So the kernel cannot end a process
  with the one that asked for it: a thread watches the pipe between the two (end_with_parent()).
- A server that has died is started again with the next process.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext

import numpy as np

from deltal_openrlhf import cpu

PRELOAD = "deltal_openrlhf.parity.preload"


def context() -> ForkServerContext | SpawnContext:
    """The context whose processes start warm: its server runs. Where torch was built for GPUs, that of spawn."""
    if not cpu.is_needed():
        return multiprocessing.get_context("spawn")
    warm = multiprocessing.get_context("forkserver")
    warm.set_forkserver_preload([PRELOAD])
    with _variables(cpu.environment()):
        forkserver.ensure_running()
    return warm


def duplicate(descriptor: int) -> Connection:
    """A duplicate of a file descriptor that can be among the arguments of a process: of use there is its fileno()."""
    return Connection(os.dup(descriptor))


def end_with_parent() -> None:
    """Kill this process as soon as the one that asked for it is gone, whatever it is doing."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # only processes of context() call this

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def become(environment: Mapping[str, str], descriptors: Mapping[int, Connection]) -> None:
    """Make this process one of its own: environment, file descriptors (number -> what it becomes), numpy's random state."""
    os.environ.clear()
    os.environ.update(environment)
    for number, connection in descriptors.items():
        os.dup2(connection.fileno(), number)
        connection.close()
    np.random.seed()


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
