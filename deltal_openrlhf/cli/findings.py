"""What `deltal doctor` finds: facts, and problems with their remedies."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """what is wrong; what to do about it; whether a run cannot work with it."""

    what: str
    remedy: str
    fatal: bool = True


Report = tuple[list[str], list[Problem]]
"""Lines for the screen, and problems."""
