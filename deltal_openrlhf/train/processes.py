"""Ends every process of a run, even if a worker was killed and init adopted its children."""

import signal
import subprocess
import sys

import psutil

from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.runs.tether import end
from deltal_openrlhf.runs.watch import Watch


class ProcessTracker:
    """Remembers every descendant of this process, and ends those that outlive Ray's own shutdown."""

    def __init__(self, every: float = 1.0) -> None:
        self._seen: set[psutil.Process] = set()
        self._watch = Watch(self._look, every, "process-tracker")

    def _look(self) -> None:
        me = psutil.Process()
        self._seen.update(me.children(recursive=True))
        # Children of a killed worker are adopted by init; they were seen before.
        self._seen = {p for p in self._seen if p.is_running()}

    def stop_ray(self, grace: float = 1.0) -> None:
        """Shut down this process's Ray, then end the remaining processes."""
        self._watch.stop()
        if "ray" in sys.modules and (ray := sys.modules["ray"]).is_initialized():
            # Ray's daemons do not hear SIGTERM (signals.py), after which Ray waits a second for each.
            with rebound(subprocess.Popen, "terminate", subprocess.Popen.kill):
                ray.shutdown()
        else:
            grace = 0.0  # what there is began in a ray.init that was interrupted, and knows of no end
        end(self._seen, grace, signal.SIGKILL)
