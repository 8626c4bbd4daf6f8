"""What the comparisons of parts are given, to compare what is inside of them."""

from collections.abc import Callable, Iterable

Same = Callable[[str, str], bool | None]
"""Whether two answers, normalised, are equal; None where it cannot tell."""


def all_of(verdicts: Iterable[bool | None]) -> bool | None:
    """False if one is, else None if one is, else True."""
    verdicts = list(verdicts)
    return False if False in verdicts else None if None in verdicts else True
