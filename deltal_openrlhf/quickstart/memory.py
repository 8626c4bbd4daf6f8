"""Peak memory of this process and all processes below it."""

import threading
from types import TracebackType

import psutil


class PeakMemory:
    """Context manager that samples the summed PSS of the process tree: memory shared by several processes counts once."""

    def __init__(self, every: float = 3.0) -> None:
        self.gigabytes = 0.0
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True, name="peak-memory")

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        root = psutil.Process()
        while True:
            last_look = self._stop.wait(self._every)
            self.gigabytes = max(self.gigabytes, sum(map(_pss, [root, *root.children(recursive=True)])) / 1e9)
            if last_look:
                return


def _pss(process: psutil.Process) -> int:
    """Bytes, 0 for a process that has just ended."""
    try:
        return process.memory_full_info().pss
    except psutil.Error:
        return 0
