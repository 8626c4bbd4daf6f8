"""Processes that end with the one that started them, whatever kills it. Linux only."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import psutil

_PR_SET_PDEATHSIG = 1


def tie(parent: int, how: signal.Signals) -> None:
    """The kernel sends this process the signal `how` as soon as its parent, the process `parent`, is gone."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(how)) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # gone before the kernel knew
        os.kill(os.getpid(), how)


def tethered(words: Sequence[str], how: signal.Signals, **arguments: Any) -> subprocess.Popen:
    """subprocess.Popen(words, **arguments); the kernel sends the process the signal `how` as soon as this one is gone."""
    parent = os.getpid()
    return subprocess.Popen(words, preexec_fn=lambda: tie(parent, how), **arguments)


def end(processes: Collection[psutil.Process], grace: float, *signals: signal.Signals) -> None:
    """Wait `grace` seconds for the processes to end, send those that did not the first signal, wait as long again, and so on."""
    _, alive = psutil.wait_procs(list(processes), timeout=grace)
    for number in signals:
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        _, alive = psutil.wait_procs(alive, timeout=grace)
