"""A grading process: `python -m deltal_openrlhf.grading.worker MEMORY_MB MODULE`. One JSON line in, two lines out.

In: {"id": 1, "golds": [...], "pred": "...", "deadline": 3.0}. Out: "1 taken", then "1 equal"; or different, unparsable, timeout,
worker_died. The number is that of the request: a line that comes too late is told from the answer to the next one. A process that ends
before it has said "taken" did not look at the answer, so another one can. The first line of all is "ready", or "ready unconfined" where
the kernel does not limit what a child may ask of it.

MODULE grades: its warm_up() imports what it needs, and its grade(golds, pred) gives the status. A mark of its own may follow the status
("different 0.25").

The process that is started imports the module once and then only forks: its child does the grading. A child that takes longer than
the deadline (in seconds) is ended by the kernel's timer, which no computation that holds the interpreter can put off and which works when
everybody else is gone; a child that wants more memory than its limit ends itself. Either way a new one takes its place within
milliseconds, on the same pipes. A child is also replaced after many answers, or when one of them left it large. What it may ask of the
kernel is limited (confinement.py).
"""

import importlib
import json
import mmap
import os
import resource
import select
import signal
import sys
from types import ModuleType

from deltal_openrlhf.grading.confinement import confine

ANSWERS_PER_CHILD = 2000
RENEW = 3
"""Exit code of a child that wants to be replaced."""
_TAKING = 2**64 - 1
"""In place of a request's number: the child reads one."""


def main(memory_mb: int, name: str) -> None:
    module = importlib.import_module(name)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that owns this one
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)  # whatever a library prints is no answer
    module.warm_up()
    os.write(answers, b"ready\n" if _can_be_confined() else b"ready unconfined\n")
    busy_with = mmap.mmap(-1, 8)  # the request that the child has; 0 between two
    while True:
        busy_with[:] = bytes(8)
        child = os.fork()
        if child == 0:
            _serve(answers, busy_with, memory_mb, module)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            code = os.WEXITSTATUS(status)
            if code == 0:
                return  # the owner closed the pipe
            if code == RENEW:
                continue
        number = int.from_bytes(busy_with[:], "little")
        if number == _TAKING:
            return  # the request is lost, or half of it: the owner starts another process and asks that one
        if number:
            timed_out = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM
            os.write(answers, f"{number} {'timeout' if timed_out else 'worker_died'}\n".encode())


def _can_be_confined() -> bool:
    child = os.fork()  # since this process may not confine itself: it forks
    if child == 0:
        os._exit(0 if confine() else 1)
    return os.waitpid(child, 0)[1] == 0


def _serve(answers: int, busy_with: mmap.mmap, memory_mb: int, module: ModuleType) -> None:
    """A child's life. Ends the process."""
    code = 1
    try:
        limit = memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        confine()  # where it can be; "ready" has said so
        requests = select.poll()
        requests.register(0, select.POLLIN)
        for _ in range(ANSWERS_PER_CHILD):
            requests.poll()
            busy_with[:] = _TAKING.to_bytes(8, "little")
            line = _read_line()
            if not line:
                os._exit(0)
            request = json.loads(line)
            os.write(answers, f"{request['id']} taken\n".encode())
            busy_with[:] = request["id"].to_bytes(8, "little")
            signal.setitimer(signal.ITIMER_REAL, request["deadline"])
            status = module.grade(request["golds"], request["pred"])
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.write(answers, f"{request['id']} {status}\n".encode())
            busy_with[:] = bytes(8)
            if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > limit / 2:
                break
        code = RENEW
    finally:
        os._exit(code)  # after a MemoryError nothing in here can be trusted


def _read_line() -> bytes:
    """Not a byte more than one line: what follows is the next child's, if this one dies."""
    chunks = []
    while True:
        chunk = os.read(0, 1 << 16)  # the owner writes one line and waits for its answer
        chunks.append(chunk)
        if not chunk or chunk.endswith(b"\n"):
            return b"".join(chunks)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
