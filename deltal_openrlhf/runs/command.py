"""What our commands share: their parser, checks of flags, what they say about an unknown name, and how they end."""

import argparse
import difflib
import math
import re
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from deltal_openrlhf.runs.redaction import redacted

FAILED, INTERRUPTED, TERMINATED = 1, 130, 143
"""Exit status after a failure, after Ctrl-C, and after SIGTERM or SIGUSR1."""
_TERMINATE = (signal.SIGTERM, signal.SIGUSR1)


class OneLineParser(argparse.ArgumentParser):
    """Bad flags end with exit code 2 and one line; no flag may be abbreviated."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {redacted(message)}\n")


def check_numbers(
    args: argparse.Namespace, least: Mapping[str, float], *, positive: Sequence[str] = (), shares: Sequence[str] = ()
) -> None:
    """Raises ValueError for a flag below its least value, or not above 0 (positive), or not above 0 to 1 (shares). None is allowed."""
    names = (*least, *positive, *shares)
    for name, value in ((name, getattr(args, name)) for name in names if getattr(args, name) is not None):
        if name in least:
            fits, allowed = least[name] <= value < math.inf, f"{least[name]} or more"
        elif name in positive:
            fits, allowed = 0 < value < math.inf, "a number above 0"
        else:
            fits, allowed = 0 < value <= 1, "above 0 to 1"
        if not fits:
            raise ValueError(f"--{name} is {value}, allowed is {allowed}")


def check_folder(path: Path | None) -> None:
    """Raises ValueError if --out is a file."""
    if path and path.exists() and not path.is_dir():
        raise ValueError(f"--out {path}: is a file, wanted is a folder")


def nearest(name: str, known: Collection[str]) -> str | None:
    """ "the nearest known one is 'seeds'", or "the nearest known ones are" those of which name is a part; None if none is near.

    The parts of actor.lr_warmup_ratio are all words between dots and underscores, and what these join.
    """
    part = re.compile(rf"(^|[._]){re.escape(name)}($|[._])")
    close = difflib.get_close_matches(name, list(filter(part.search, known)), n=3, cutoff=0)
    close = close or difflib.get_close_matches(name, known, n=1)
    if not close:
        return None
    return f"the nearest known {'one is' if len(close) == 1 else 'ones are'} {', '.join(map(repr, close))}"


class Terminated(KeyboardInterrupt):
    """SIGTERM, or SIGUSR1, with which schedulers warn: as Ctrl-C. Its text is the signal's name."""


def raise_interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    """A signal handler: the signal as Ctrl-C."""
    raise Terminated(signal.Signals(signum).name)


@contextmanager
def terminable() -> Iterator[None]:
    """Inside, SIGTERM and SIGUSR1 raise Terminated. After one of them or Ctrl-C, a second does nothing: it would leave processes behind."""
    before = {number: signal.signal(number, raise_interrupt) for number in _TERMINATE}
    try:
        yield
    except KeyboardInterrupt:
        for number in (signal.SIGINT, *_TERMINATE):
            signal.signal(number, signal.SIG_IGN)
        raise
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is raise_interrupt:
                signal.signal(number, handler)


def interrupted(prog: str, stop: KeyboardInterrupt, then: str = "") -> int:
    """Say that a command was interrupted, and what follows; its exit status."""
    how = f"interrupted by {stop}" if isinstance(stop, Terminated) else "interrupted"
    print(f"{prog}: {how}{then}", file=sys.stderr, flush=True)
    return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED


def run_command(parser: argparse.ArgumentParser, work: Callable[[], int]) -> int:
    """The exit status of work(), which the same command resumes after an interruption (INTERRUPTED, TERMINATED).

    ValueError and OSError are said in one line and end the process with 2.
    """
    try:
        with terminable():
            return work()
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}" if error.filename else " ".join(str(error).split()))
    except ValueError as error:
        parser.error(" ".join(str(error).split()))
    except KeyboardInterrupt as stop:
        return interrupted(parser.prog, stop, "; the same command resumes where it stopped")
