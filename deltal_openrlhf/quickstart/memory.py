"""Peak memory of this process and all processes below it."""

import psutil

from deltal_openrlhf.runs.watch import Watch


class PeakMemory:
    """Context manager that samples the summed PSS of the process tree: memory shared by several processes counts once."""

    def __init__(self, every: float = 3.0) -> None:
        self.gigabytes = 0.0
        self._every = every

    def __enter__(self) -> "PeakMemory":
        self._watch = Watch(self._look, self._every, "peak-memory")
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.stop()

    def _look(self) -> None:
        root = psutil.Process()
        self.gigabytes = max(self.gigabytes, sum(map(_pss, [root, *root.children(recursive=True)])) / 1e9)


def _pss(process: psutil.Process) -> int:
    """Bytes, 0 for a process that has just ended."""
    try:
        return process.memory_full_info().pss
    except psutil.Error:
        return 0
