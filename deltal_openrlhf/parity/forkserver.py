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
- A server that hangs or dies while it imports would leave the asker waiting: start() has a time limit.
- A server that has died is started again with the next process.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess
from typing import Any

import numpy as np

from deltal_openrlhf import cpu
from deltal_openrlhf.runs.tether import tie

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


def start(process: ForkServerProcess | SpawnProcess, end: float) -> None:
    """Start a process of context() before `end` (time.monotonic()).

    Raises TimeoutError past it, EOFError or ConnectionError if the server died. In both cases stop() has been called.
    """
    if isinstance(process, SpawnProcess):
        process.start()  # in this thread: the kernel takes the thread for the parent (tie())
        return
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            process.start()  # waits until the server has imported everything
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    late = True
    try:
        thread.join(max(0.0, end - time.monotonic()))
        late = thread.is_alive()
    finally:
        if any(isinstance(error, EOFError | ConnectionError) for error in errors):
            stop()
        while thread.is_alive():
            stop()  # again if it has not come to the server that was ended, and starts another
            thread.join(0.1)
    if late:
        raise TimeoutError("the server of processes takes too long")
    if errors:
        raise errors[0]


def stop() -> None:
    """Kill the server, whatever it is doing; the next context() starts another.

    Its processes keep running, but their exit codes are lost.
    """
    server: Any = forkserver._forkserver  # the stubs lack what is private
    if server._forkserver_pid is not None:
        with suppress(ProcessLookupError):
            os.kill(server._forkserver_pid, signal.SIGKILL)  # it looks at its pipe only after the imports
        server._stop()


def duplicate(descriptor: int) -> Connection:
    """A duplicate of a file descriptor that can be among the arguments of a process: of use there is its fileno()."""
    return Connection(os.dup(descriptor))


def end_with_parent() -> None:
    """Kill this process when the one that asked for it is gone: at once if it was spawned.

    If it was forked from the server, as soon as a thread can take the interpreter, which a C function may hold for long.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None and parent.pid is not None  # only processes of context() call this
    if os.getppid() == parent.pid:
        tie(parent.pid, signal.SIGKILL)
        return

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
