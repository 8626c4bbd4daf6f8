"""A grade, and how a worker's words become one."""

import math
from typing import Any, NamedTuple

STATUSES = ("equal", "different", "unparsable", "too_long", "timeout", "worker_died")


class Grade(NamedTuple):
    """mark: what another scorer than that of math gave; 0 where it gave nothing."""

    equal: bool
    status: str
    mark: float | None = None

    def fields(self) -> dict[str, Any]:
        """As JSON has it, without a mark that is not there."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def grade_of(said: str, marked: bool) -> Grade:
    """The grade of a status and perhaps a mark ("different 0.25"). marked: whether the scorer gives marks.

    worker_died for any other words: a status that there is not, a mark that is no finite number.
    """
    status, _, text = said.partition(" ")
    try:
        mark = float(text or 0)
    except ValueError:
        mark = math.nan
    if status not in STATUSES or not math.isfinite(mark):
        status, mark = "worker_died", 0.0
    return Grade(status == "equal", status, mark if marked else None)
