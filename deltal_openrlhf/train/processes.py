"""Leave no process behind, also when a worker was killed and its children were adopted by init."""

import threading
from contextlib import suppress

import psutil


class ProcessTracker:
    """Remembers every descendant of this process that it has seen, to end those that outlive Ray's own shutdown."""

    def __init__(self, every: float = 1.0) -> None:
        self._seen: set[psutil.Process] = set()
        self._stopped = threading.Event()
        self._every = every
        self._thread = threading.Thread(target=self._watch, daemon=True, name="process-tracker")
        self._thread.start()

    def _watch(self) -> None:
        while not self._stopped.wait(self._every):
            self._look()

    def _look(self) -> None:
        me = psutil.Process()
        self._seen.update(me.children(recursive=True))
        # Children of a killed worker are adopted by init; they were seen before.
        self._seen = {p for p in self._seen if p.is_running()}

    def stop_ray(self, grace: float = 5.0) -> None:
        """Shut this process's Ray down, then end what is left of the processes seen."""
        self._stopped.set()
        self._thread.join()
        self._look()
        import ray

        if ray.is_initialized():
            ray.shutdown()
        _, alive = psutil.wait_procs(list(self._seen), timeout=grace)
        for end in (psutil.Process.terminate, psutil.Process.kill):
            for process in alive:
                with suppress(psutil.NoSuchProcess):
                    end(process)
            _, alive = psutil.wait_procs(alive, timeout=grace)
