"""What `deltal doctor` finds: facts, and problems with their remedies."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Something that is wrong, and what to do about it. fatal: no run can work with it."""

    what: str
    remedy: str
    fatal: bool = True


Report = tuple[list[str], list[Problem]]
"""Lines for the screen, and problems."""
