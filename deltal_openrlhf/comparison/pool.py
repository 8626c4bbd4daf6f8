"""Long-lived worker processes (worker.py) that run the jobs. A worker that dies is replaced, and none is left behind."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from deltal_openrlhf.comparison.grid import Job
from deltal_openrlhf.runs.tether import end, tethered

GRACE = 30.0
"""Seconds that a run of the pipeline may take to end its Ray processes."""


class Engine(NamedTuple):
    """How runs are trained. target: MODULE:FUNCTION of (flags, folder). in_process: in the worker itself, on one thread."""

    target: str
    in_process: bool


ENGINES = {
    "loop": Engine("deltal_openrlhf.comparison.loop:run", in_process=True),
    "pipeline": Engine("deltal_openrlhf.comparison.pipeline:run", in_process=False),
}


class Outcome(NamedTuple):
    """A job and its result.json, which has "steps" or "crashed"."""

    job: Job
    result: dict[str, Any]


class _Worker:
    def __init__(self, engine: Engine) -> None:
        words = [sys.executable, "-m", "deltal_openrlhf.comparison.worker", engine.target]
        threads = {"OMP_NUM_THREADS": "1"} if engine.in_process else {}
        self.process = tethered(
            words + ["--in_process"] * engine.in_process,
            signal.SIGKILL,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | threads,
            text=True,
        )
        assert self.process.stdin is not None and self.process.stdout is not None  # they are pipes
        self.jobs, self.answers = self.process.stdin, self.process.stdout
        self.job: Job | None = None
        self.begun = 0.0

    def start(self, job: Job, folder: Path) -> None:
        self.job, self.begun = job, time.monotonic()
        try:
            self.jobs.write(json.dumps({"flags": job.flags, "folder": str(folder)}) + "\n")
            self.jobs.flush()
        except BrokenPipeError:
            return  # it is dead, which outcome() will say

    def outcome(self) -> Outcome:
        """The outcome of the job, once the worker has answered or ended."""
        assert self.job is not None
        line = self.answers.readline()
        if line.endswith("\n"):
            result = json.loads(line)
        else:
            result = {"seconds": time.monotonic() - self.begun, "cpu_seconds": 0.0, "crashed": self._death()}
        job, self.job = self.job, None
        return Outcome(job, result)

    def _death(self) -> str:
        code = self.process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            return f"its process was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
        return f"its process ended with exit code {code}; console.txt says more"


class Pool:
    """A context manager that runs `size` jobs at once, in folders under `out`."""

    def __init__(self, engine: Engine, size: int, out: Path) -> None:
        self._engine, self._size, self._out = engine, size, out
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()

    def run(self, next_job: Callable[[], Job | None]) -> Iterator[Outcome]:
        """Yield outcomes as they come.

        next_job: called whenever a worker is free. None means that no job can begin before the next outcome.
        """
        while True:
            while sum(worker.job is not None for worker in self._workers) < self._size:
                job = next_job()
                if job is None:
                    break
                self._free_worker().start(job, self._out / job.name)
            if not any(worker.job for worker in self._workers):
                return
            for key, _ in self._selector.select():
                worker: _Worker = key.data
                idle = worker.job is None
                if not idle:
                    yield worker.outcome()
                if idle or worker.process.poll() is not None:
                    self._forget(worker)

    def _free_worker(self) -> _Worker:
        for worker in self._workers:
            if worker.job is None and worker.process.poll() is None:
                return worker
        worker = _Worker(self._engine)
        self._workers.append(worker)
        self._selector.register(worker.answers, selectors.EVENT_READ, worker)
        return worker

    def _forget(self, worker: _Worker) -> None:
        self._selector.unregister(worker.answers)
        worker.process.wait()
        worker.answers.close()
        self._workers.remove(worker)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        """End all workers at once, and wait for the processes that they started. Those end themselves when their worker is gone."""
        interrupts = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave processes behind
        try:
            self._end()
        finally:
            signal.signal(signal.SIGINT, interrupts)

    def _end(self) -> None:
        started: list[psutil.Process] = []
        for worker in self._workers:
            with suppress(psutil.NoSuchProcess):
                started += psutil.Process(worker.process.pid).children(recursive=True)
        for worker in self._workers:
            worker.process.kill()
            worker.process.wait()
        end(started, GRACE, signal.SIGKILL)
