"""The budget of a part, and the outcome of each of its cases: a line on the console and a line of JSON."""

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VERDICTS = {True: "ok", False: "FAILED", None: "-"}


class Budget:
    """Seconds of one part: it begins no further case once they are spent. console: the file for the output of its processes."""

    def __init__(self, seconds: float, console: Path) -> None:
        self._end = time.monotonic() + seconds
        self.console = console

    @property
    def left(self) -> float:
        return max(0.0, self._end - time.monotonic())


@dataclass
class Outcome:
    """ok: None for what is reported and not judged, or left out. values: what was measured, as JSON. said: the line's end."""

    part: str
    case: str
    ok: bool | None = None
    said: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None

    def line(self) -> str:
        took = "" if self.seconds is None else f"{self.seconds:6.1f} s"
        return f"{self.part:<12} {VERDICTS[self.ok]:<7}{took:>9}  {self.case}{': ' if self.said else ''}{self.said}"

    def as_json(self) -> str:
        row = {"part": self.part, "case": self.case, "ok": self.ok, "seconds": self.seconds, "said": self.said}
        assert not row.keys() & self.values.keys()
        return json.dumps(_for_json(row | self.values), ensure_ascii=False, allow_nan=False)


def _for_json(value: Any) -> Any:
    """inf and nan, which JSON has not, as words."""
    if isinstance(value, dict):
        return {key: _for_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_for_json(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def measured(part: str, case: str) -> Iterator[Outcome]:
    """An Outcome to fill in, with the seconds of the block. What the block raises becomes a failure."""
    outcome = Outcome(part, case)
    begun = time.monotonic()
    try:
        yield outcome
    except Exception as error:  # noqa: BLE001 - a case that fails must not keep the next one from running
        outcome.ok, outcome.said = False, last_line(error)
        outcome.values |= {"kind": type(error).__name__, "error": str(error)[-4000:]}
    outcome.seconds = round(time.monotonic() - begun, 2)


def last_line(error: Exception) -> str:
    """The kind of an error and the last line of what it says: of a rank's traceback, what was raised there."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[-1]}"


class Report:
    """Prints every outcome, and appends it to a file of JSON lines. path: None for no file; an earlier file is replaced."""

    def __init__(self, path: Path | None) -> None:
        self.passed: list[Outcome] = []
        self.failed: list[Outcome] = []
        self._file = open(path, "w", encoding="utf-8") if path else None

    def add(self, outcome: Outcome) -> None:
        print(outcome.line(), flush=True)
        if self._file:
            self._file.write(outcome.as_json() + "\n")
            self._file.flush()
        if outcome.ok is not None:
            (self.passed if outcome.ok else self.failed).append(outcome)

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()
