"""What our commands share: their parser, checks of flags, what they say about an unknown name, and how they end."""

import argparse
import difflib
import math
import re
import signal
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from deltal_openrlhf.runs.reader import reader_left
from deltal_openrlhf.runs.redaction import redacted

FAILED, INTERRUPTED, TERMINATED = 1, 130, 143
"""Exit status after a failure, after Ctrl-C, and after SIGTERM or SIGUSR1."""
_TERMINATE = (signal.SIGTERM, signal.SIGUSR1)


class Paragraphs(argparse.HelpFormatter):
    """Wraps the paragraphs of a description, and leaves those that begin with spaces, such as commands, as they are.

    Names with hyphens are not broken.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip("\n").split("\n\n")
        filled = (p if p[:1] == " " else "\n".join(self._split_lines(p, width)) for p in paragraphs)
        return textwrap.indent("\n\n".join(filled), indent)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class OneLineParser(argparse.ArgumentParser):
    """Bad flags end with exit code 2 and one line that names the nearest flag.

    A flag may have hyphens in place of underscores. It is not abbreviated.
    """

    _words: Sequence[str] = ()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"formatter_class": Paragraphs, **kwargs}, allow_abbrev=False)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        self._words = underscored(sys.argv[1:] if args is None else args, flags_of(self))
        return super().parse_known_args(self._words, namespace)

    def error(self, message: str) -> NoReturn:
        # What is missing is often there, but misspelt.
        if message.startswith(_MISSING) and (unknown := _unknown_flag(self._words, flags_of(self))):
            message = f"{UNKNOWN}{unknown}"
        self.exit(2, f"{self.prog}: error: {redacted(with_nearest_flag(message, flags_of(self)))}\n")


UNKNOWN = "unrecognized arguments: "
_MISSING = "the following arguments are required: "
"""How argparse says these."""


def flags_of(parser: argparse.ArgumentParser) -> set[str]:
    """All flags of a parser, and of its subcommands."""
    flags = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            flags = flags.union(*map(flags_of, action.choices.values()))
    return flags


def underscored(words: Sequence[str], flags: Collection[str]) -> list[str]:
    """The words of a command line with --a-b as --a_b, where that is a flag. Values, and what follows a bare --, stay as they are."""
    end = words.index("--") if "--" in words else len(words)
    return [_underscored(word, flags) for word in words[:end]] + list(words[end:])


def _underscored(word: str, flags: Collection[str]) -> str:
    name, equals, value = word.partition("=")
    meant = f"--{name[2:].replace('-', '_')}"
    return f"{meant}{equals}{value}" if name.startswith("--") and name not in flags and meant in flags else word


def _unknown_flag(words: Sequence[str], flags: Collection[str]) -> str | None:
    """The first word that is written as a flag and is none."""
    end = words.index("--") if "--" in words else len(words)
    return next((word for word in words[:end] if word.startswith("--") and word.partition("=")[0] not in flags), None)


def with_nearest_flag(message: str, flags: Collection[str]) -> str:
    """The parser's message; where it is about unknown flags, with what comes nearest to the first of them."""
    unknown = _unknown_flag(message.partition(UNKNOWN)[2].split(), flags)
    if unknown is None:
        return message
    known = [flag[2:] for flag in flags if flag.startswith("--")]
    near = nearest_flag(unknown[2:].partition("=")[0].replace("-", "_"), known, prefix="--")
    return f"{message}; {near}" if near else message


def nearest_flag(name: str, known: Collection[str], prefix: str = "") -> str | None:
    """nearest(), for flags without dashes. Hugging Face's name of the learning rate is the commonest wrong one."""
    return nearest(name.replace("learning_rate", "lr"), known, prefix)


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


def nearest(name: str, known: Collection[str], prefix: str = "") -> str | None:
    """ "the nearest known one is 'seeds'", or "the nearest known ones are" those of which name is a part; None if none is near.

    prefix: stands before each in the answer. First come names that only have more groups: actor.adam.lr for actor.lr. The parts of
    actor.lr_warmup_ratio and overlays/8gpu are all words between . _ / and -, and what these join.
    """
    groups = re.compile(r"(^|\.)" + r"\.(.*\.)?".join(map(re.escape, name.split("."))) + "$")
    part = re.compile(rf"(^|[._/-]){re.escape(name)}($|[._/-])")
    close: list[str] = []
    for like in (groups, part):
        close = close or difflib.get_close_matches(name, list(filter(like.search, known)), n=3, cutoff=0)
    close = close or difflib.get_close_matches(name, known, n=1)
    if not close:
        return None
    return f"the nearest known {'one is' if len(close) == 1 else 'ones are'} {', '.join(repr(prefix + one) for one in close)}"


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


def run_command(
    parser: argparse.ArgumentParser, work: Callable[[], int], begun: Callable[[], bool] | None = None
) -> int:
    """The exit status of work(); INTERRUPTED or TERMINATED after a signal.

    ValueError and OSError are said in one line and end the process with 2. A broken standard output is raised: reader.py ends the command.
    begun: whether there are results that the same command resumes with, asked after a signal.
    """
    try:
        with terminable():
            return work()
    except OSError as error:
        if reader_left(error):
            raise
        parser.error(f"{error.filename}: {error.strerror}" if error.filename else " ".join(str(error).split()))
    except ValueError as error:
        parser.error(" ".join(str(error).split()))
    except KeyboardInterrupt as stop:
        resumes = begun is not None and begun()
        return interrupted(
            parser.prog, stop, "; the same command resumes where it stopped" if resumes else "; nothing was done"
        )
