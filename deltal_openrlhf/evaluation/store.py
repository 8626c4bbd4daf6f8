"""responses.jsonl of one evaluation. Graded responses are appended as they finish, and read back after an interruption."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from deltal_openrlhf.runs.journal import Journal

RESPONSES = "responses.jsonl"

_SYNC_EVERY = 1.0  # seconds


class Record(NamedTuple):
    """One graded response; a line of responses.jsonl holds these fields."""

    set: str
    position: int  # of the problem in its set
    sample: int  # 0 to n - 1
    response: str
    tokens: int
    finish_reason: str  # "stop" or "length"
    answer: str | None
    status: str  # one of grading.grader.STATUSES
    correct: bool


class ResponseStore(Journal[Record]):
    """A context manager. records: (set, position, sample) -> Record, of this and of earlier runs with the same settings."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Raises ValueError as Journal does. settings: everything that the responses depend on."""
        super().__init__(
            folder / RESPONSES,
            settings,
            kind="evaluation",
            results=[RESPONSES],
            read_line=_record,
            refusal="is not a graded response",
        )
        self.records = {(r.set, r.position, r.sample): r for r in self.lines}
        self._synced = time.monotonic()

    def add(self, records: Iterable[Record]) -> None:
        """Write finished responses. A kill loses none of them. A power failure loses those of the last second."""
        records = list(records)
        self.append(record._asdict() for record in records)
        if time.monotonic() - self._synced > _SYNC_EVERY:
            self.sync()
            self._synced = time.monotonic()
        self.records.update({(r.set, r.position, r.sample): r for r in records})


def _record(fields: Any) -> Record:
    """Raises TypeError for other fields or types."""
    record = Record(**fields)
    for name, kind in Record.__annotations__.items():
        if not isinstance(getattr(record, name), kind):
            raise TypeError(f"{name} is no {kind}")
    return record
