"""Redirects stdout and stderr of this process, and of the processes that it starts, to a log file."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

_DESCRIPTORS = (1, 2)


class Console(NamedTuple):
    """The original stdout and stderr of a process whose output goes to a file."""

    out: TextIO
    err: TextIO


def send_output_to(path: Path) -> None:
    """Send stdout and stderr to the end of `path` from now on."""
    _flush()
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor in _DESCRIPTORS:
        os.dup2(log, descriptor)
    os.close(log)


@contextmanager
def output_to(path: Path) -> Iterator[Console]:
    """Inside this context, stdout and stderr go to the end of `path`."""
    saved = [os.dup(descriptor) for descriptor in _DESCRIPTORS]
    console = Console(*(os.fdopen(original, "w", buffering=1, errors="replace") for original in saved))
    try:
        send_output_to(path)
        yield console
    finally:
        _flush()
        for descriptor, stream in zip(_DESCRIPTORS, console, strict=True):
            stream.flush()
            os.dup2(stream.fileno(), descriptor)
            stream.close()


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
