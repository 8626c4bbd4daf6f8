"""What a part may use: time, and a place for what its processes print."""

import time
from pathlib import Path


class Budget:
    """Seconds of one part: it begins no further case once they are spent. console: the file for the output of its processes."""

    def __init__(self, seconds: float, console: Path) -> None:
        self._end = time.monotonic() + seconds
        self.console = console

    @property
    def left(self) -> float:
        return max(0.0, self._end - time.monotonic())
