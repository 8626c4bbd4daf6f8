"""The stacks of other processes, without a debugger's rights. A process offers its stacks, and writes them when it is asked. Linux only.

faulthandler writes from the signal handler. So a process that holds Python's lock, or waits in a collective, answers too. It writes into
anonymous memory, which the asking process reads through /proc. Nothing stays on a disk, and the parts of several processes do not mix.
"""

import faulthandler
import os
import re
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

SIGNAL = signal.SIGUSR2
_NAME = "deltal-stacks"
_TIME_TO_WRITE = 2.0


def offer() -> None:
    """Let other processes of this user ask for the stacks of this one. Call it once in each process."""
    faulthandler.register(SIGNAL, file=os.memfd_create(_NAME), all_threads=True)


def collect(processes: Iterable[psutil.Process]) -> dict[str, str]:
    """{"pid and command": stacks} of the processes that offer them. The others are not signalled, because the signal would end them."""
    asked = [process for process in processes if _offers(process.pid)]
    for process in asked:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(SIGNAL)
    time.sleep(_TIME_TO_WRITE)
    return {name: text for process in asked if (text := _written(process.pid)) for name in [_title(process)]}


def _offers(pid: int) -> bool:
    with suppress(OSError):
        caught = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        return caught is not None and bool(int(caught[1], 16) >> (SIGNAL - 1) & 1) and bool(_memory(pid))
    return False


def _memory(pid: int) -> list[Path]:
    return [path for path in Path(f"/proc/{pid}/fd").iterdir() if os.readlink(path).startswith(f"/memfd:{_NAME} ")]


def _written(pid: int) -> str:
    with suppress(OSError):
        return "".join(path.read_text(errors="replace") for path in _memory(pid))
    return ""


def _title(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return f"pid {process.pid}: {' '.join(process.cmdline())[:100]}"
    return f"pid {process.pid}"
