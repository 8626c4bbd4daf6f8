"""Takes out of a command line what its parser refuses, so that the rest can be parsed and checked too."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from deltal_openrlhf.runs.command import UNKNOWN, flags_of, with_nearest_flag
from deltal_openrlhf.runs.faults import FLAG, Faults, Unusable

BACKEND = "--backend"


def usable(parser: argparse.ArgumentParser, argv: Sequence[str], faults: Faults) -> list[str]:
    """The words without unknown flags, and without flags whose value the parser refuses. Each refusal is added to `faults`."""
    words, unknown, lost = list(argv), None, set()
    with raising(parser):
        while unknown is None:
            try:
                _, unknown = parser.parse_known_args(words)
            except argparse.ArgumentError as error:
                action = next((a for a in parser._actions if _name(a) == error.argument_name), None)
                faults.add(Unusable(" ".join(str(error).split()), spellings(parser, action) if action else ()))
                rest = _without(words, action.option_strings if action else ())
                lost |= set(action.option_strings if action else ())
                if rest == words:  # such as -help, a value of -h, which takes none
                    faults.refuse()
                words = rest
    # Flags of a backend that is not there are unknown, which says nothing more.
    if unknown and BACKEND not in lost:
        # Each may stand for the flag that is next to it, whose value is then not known.
        meant = (with_nearest_flag(f"{UNKNOWN}{word}", flags_of(parser)).partition("; ")[2] for word in unknown)
        message = with_nearest_flag(f"{UNKNOWN}{' '.join(unknown)}", flags_of(parser))
        faults.add(Unusable(message, (flag for hint in meant for flag in FLAG.findall(hint))))
    start = 0
    for word in unknown:  # they are in order
        start = words.index(word, start)
        del words[start]
    return words


def spellings(parser: argparse.ArgumentParser, action: argparse.Action) -> list[str]:
    """All flags, with dashes, that set the same value."""
    return [flag for one in parser._actions if one.dest == action.dest for flag in one.option_strings]


@contextmanager
def raising(parser: argparse.ArgumentParser) -> Iterator[None]:
    """Inside this context, the parser raises ArgumentError instead of ending the process."""
    ends, parser.exit_on_error = parser.exit_on_error, False
    try:
        yield
    finally:
        parser.exit_on_error = ends


def _name(action: argparse.Action) -> str:
    return "/".join(action.option_strings)  # as argparse names it in its errors


def _without(words: Sequence[str], flags: Sequence[str]) -> list[str]:
    """The words without these flags and what follows them up to the next flag."""
    kept, drops = [], False
    for word in words:
        if word.startswith("--"):
            drops = word.partition("=")[0] in flags
        if not drops:
            kept.append(word)
    return kept
