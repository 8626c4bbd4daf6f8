"""What `deltal doctor` finds: facts, and problems with their remedies."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Something that is wrong, and what to do about it. fatal: no run can work with it."""

    what: str
    remedy: str
    fatal: bool = True


Findings = Iterator[str | Problem]
"""Facts, which are lines for the screen, and problems, as a check comes to them."""
