"""What the comparisons of parts are given, to compare what is inside of them."""

from collections.abc import Callable, Iterable

Same = Callable[[str, str], bool | None]
"""Whether two answers, normalised, are equal; None where it cannot tell."""


def all_of(verdicts: Iterable[bool | None]) -> bool | None:
    """False if one is, else None if one is, else True."""
    verdicts = list(verdicts)
    return False if False in verdicts else None if None in verdicts else True


def any_of(verdicts: Iterable[bool | None]) -> bool | None:
    """True if one is, else None if one is, else False."""
    undecided = False
    for verdict in verdicts:
        if verdict:
            return True
        undecided |= verdict is None
    return None if undecided else False
