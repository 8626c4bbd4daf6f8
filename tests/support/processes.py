"""The processes below this one that run."""

import contextlib

import psutil


def running_children() -> list[tuple[psutil.Process, str]]:
    """Each with its command line, children's children too. One that has ended, and that nobody has waited for, is none."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a ZombieProcess is one
            found.append((process, " ".join(process.cmdline())))
    return found
