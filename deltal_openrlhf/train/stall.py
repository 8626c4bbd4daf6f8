"""Ends a run that makes no progress, after collecting the stacks of its workers."""

import os
import sys
import time
from collections.abc import Callable

import psutil

from deltal_openrlhf.runs import stacks
from deltal_openrlhf.runs.progress import duration
from deltal_openrlhf.runs.watch import Watch

NODES_ANSWER_WITHIN = 60.0
"""Seconds that the other nodes have to send the stacks of their workers."""


class StallWatch:
    """Checks whether the processes of the run make progress (host/alive.py)."""

    def __init__(
        self,
        timeout: float,
        sign: Callable[[], str | None],
        stalled: Callable[[str], None],
        every: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """timeout: seconds without progress until stalled() gets the reason. sign: gives the last sign of progress. every: seconds between
        checks.
        """
        self._timeout, self._sign, self._stalled, self._clock = timeout, sign, stalled, clock
        self._last: str | None = None
        self._since = clock()
        self._done = False
        self._watch = Watch(self._look, min(every, timeout), "stall")

    def stop(self) -> None:
        self._done = True
        self._watch.stop(wait=2.0)  # Ray may not answer

    def _look(self) -> None:
        if self._done:
            return
        now, sign = self._clock(), self._sign()  # in this order: Ray may answer late
        if sign != self._last:
            self._last, self._since = sign, self._clock()
        elif now - self._since > self._timeout:
            self._done = True
            print(f"nothing was done for {duration(self._timeout)}; the stacks of all workers:", file=sys.stderr)
            found = workers_stacks()
            for name, text in found.items():
                print(f"\n{name}\n{text.rstrip()}", file=sys.stderr)
            sys.stderr.flush()
            after = f"after: {self._last}" if self._last else "in the start"
            self._stalled(
                f"nothing was done for {duration(self._timeout)} (--deltal.stall_timeout {self._timeout:g}), {after}; the stacks of "
                f"{len(found)} workers are in the log"
            )


def workers_stacks() -> dict[str, str]:
    """{node, pid and command: stacks} of this process's descendants, or of Ray's workers on every node of a cluster."""
    import ray

    mine = psutil.Process().children(recursive=True)
    if any(process.name() == "raylet" for process in mine) or not ray.is_initialized():
        return stacks.collect(mine)
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = {
        ray.remote(num_cpus=0)(_stacks_of_node)
        .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
        .remote(): node["NodeManagerHostname"]
        for node in ray.nodes()
        if node["Alive"]
    }
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=NODES_ANSWER_WITHIN)
    for ref in silent:
        print(f"node {asked[ref]} sent no stacks within {NODES_ANSWER_WITHIN:g} s", file=sys.stderr)
    return {f"node {asked[ref]}, {name}": text for ref in answered for name, text in ray.get(ref).items()}


def _stacks_of_node() -> dict[str, str]:
    """The stacks of the workers of the raylet that runs this task."""
    others = psutil.Process(os.getppid()).children(recursive=True)
    return stacks.collect(process for process in others if process.pid != os.getpid())
