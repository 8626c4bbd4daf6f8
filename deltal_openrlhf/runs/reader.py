"""How a command ends when whoever reads its standard output, such as `head`, has left. Imports little: `deltal --help` needs it."""

import io
import os
import select
import sys
from collections.abc import Callable

READER_LEFT = 141
"""Exit status of a command whose reader left before its own was known: that of a program which SIGPIPE ends, in a shell."""


def reader_left(error: BaseException) -> bool:
    """Whether the error is a write to standard output, and not to another pipe, that nobody reads any more."""
    if not isinstance(error, BrokenPipeError):
        return False
    try:
        output = sys.stdout.fileno()
    except io.UnsupportedOperation:
        return False
    poll = select.poll()
    poll.register(output, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def until_reader_leaves(work: Callable[[], int | None]) -> int:
    """The exit status of work(). Where the reader of standard output leaves: the status if it is known and not 0, else READER_LEFT."""
    status = 0
    try:
        try:
            status = work() or 0
        except SystemExit as stop:
            status = stop.code  # type: ignore[assignment] # a text is a failure too, and Python prints it
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except BrokenPipeError as error:
        if not reader_left(error):
            raise
        # Python itself would write the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return status or READER_LEFT
    return status
