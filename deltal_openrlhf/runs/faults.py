"""Gathers the faults of a command line, so that one start says all of them."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

FLAG = re.compile(r"--[a-z]\w*(?:\.\w+)*")
"""A flag in a message."""


class Unusable(ValueError):
    """A value that means nothing by itself: no number, out of its range, no such choice. One line.

    flags: those that have no value now, with dashes.
    """

    def __init__(self, message: str, flags: Iterable[str]) -> None:
        super().__init__(message)
        self.flags = set(flags)


class Refused(ValueError):
    """A start that is refused. faults: each with a message of one line, at least one."""

    def __init__(self, faults: Iterable[ValueError]) -> None:
        self.faults = list(faults)
        super().__init__("; ".join(map(str, self.faults)))


class Faults:
    """The faults that were found so far.

    The checks after an unusable value go on with the flag's default. What they say of this flag is left out, because it may not be so
    with a right value.
    """

    def __init__(self) -> None:
        self._found: list[ValueError] = []
        self._unusable: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, fault: ValueError) -> None:
        """Add a fault, or all of a Refused. One that was said before counts once."""
        if isinstance(fault, Refused):
            for one in fault.faults:
                self.add(one)
            return
        text, own = str(fault), fault.flags if isinstance(fault, Unusable) else set()
        if text not in map(str, self._found) and self._unusable.isdisjoint({*FLAG.findall(text)} - own):
            self._found.append(fault)
        self._unusable |= own

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Inside this context, a check that raises ValueError adds a fault and ends the context."""
        try:
            yield
        except ValueError as error:
            self.add(error)

    def refuse(self) -> None:
        """Raise Refused if there is any fault."""
        if self._found:
            raise Refused(self._found)
