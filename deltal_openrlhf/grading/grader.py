"""Grades answers of a model, whatever the model wrote: no answer can hang, crash or fool the process that asks.

    with Grader() as grader:
        grader.grade(r"\\frac{1}{2}", "0.5")      # Grade(equal=True, status="equal")

Short answers are compared here, by our own bounded arithmetic (answers.py, values.py). The rest goes to worker processes that this
object owns, one answer at a time each: one that takes longer than the deadline, or more memory than its limit, is ended and replaced,
and only the answer that it had is lost.
"""

import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from deltal_openrlhf.grading.answers import same_answer
from deltal_openrlhf.grading.extract import balanced
from deltal_openrlhf.grading.values import same_value

STATUSES = ("equal", "different", "unparsable", "too_long", "timeout", "worker_died")

EXACT_MAX_CHARS = 300
"""Longer texts are not looked at in this process."""
_START_LIMIT = 60.0
"""Seconds a worker may take to import its libraries."""
_GRACE = 0.5
"""A worker ends its child at the deadline; this much later the worker itself is ended."""
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])


class Grade(NamedTuple):
    equal: bool
    status: str


_GRADES = {status: Grade(status == "equal", status) for status in STATUSES}


class Grader:
    """workers: processes. deadline: seconds that one answer may take in a worker. memory_mb: address space of a worker, in MiB.
    max_chars: length of an answer above which it is too_long. Thread-safe, also after a fork. Processes start with the first answer
    that needs one."""

    def __init__(
        self, *, workers: int = 2, deadline: float = 3.0, memory_mb: int = 1024, max_chars: int = 2000
    ) -> None:
        for name, value, least in (
            ("workers", workers, 1), ("deadline", deadline, 0.01), ("memory_mb", memory_mb, 512), ("max_chars", max_chars, 1),
        ):  # fmt: skip
            if not value >= least:
                raise ValueError(f"{name} is {value}, allowed is {least} or more")
        self.workers, self.deadline, self.memory_mb, self.max_chars = workers, deadline, memory_mb, max_chars
        self.counts: Counter[str] = Counter(dict.fromkeys(STATUSES, 0))
        self._process = 0
        self._after_fork()

    def _after_fork(self) -> None:
        """In a process that was forked, begin anew: it has neither the threads nor the workers, and perhaps a lock that nobody opens."""
        if self._process == os.getpid():
            return
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def start(self) -> "Grader":
        """Start the workers and wait until they are ready. Raises RuntimeError where one does not start."""
        self._after_fork()
        for started in self._start_workers():
            started.result()
        return self

    def submit(self, golds: str | Sequence[str], pred: str | None) -> "Future[Grade]":
        """The grade of one answer, now or later. golds: one gold answer or several, of which one has to be met."""
        golds = (golds,) if isinstance(golds, str) else tuple(golds)
        if not golds or not all(isinstance(gold, str) and gold.strip() for gold in golds):
            raise ValueError(f"a gold answer is a non-empty text, or several of them, not {golds!r}")
        future: Future[Grade] = Future()
        self._after_fork()
        status = self._without_worker(golds, pred)
        if status is not None:
            self._resolve(future, status)
            return future
        self._start_workers()
        self._jobs.put(_Job(golds, pred or "", future))
        return future

    def grade(self, golds: str | Sequence[str], pred: str | None) -> Grade:
        """The grade of one answer. Waits for it."""
        return self.submit(golds, pred).result()

    def grade_many(
        self, pairs: Iterable[tuple[str | Sequence[str], str | None]], progress: Callable[[int], None] | None = None
    ) -> list[Grade]:
        """Grades of (golds, pred) pairs, in their order. progress is called with the number of grades done."""
        futures = [self.submit(golds, pred) for golds, pred in pairs]
        grades = []
        for done, future in enumerate(futures, 1):
            grades.append(future.result())
            if progress is not None:
                progress(done)
        return grades

    def close(self) -> None:
        """End the workers. Answers that wait are graded first."""
        self._after_fork()
        with self._lock:
            self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _without_worker(self, golds: tuple[str, ...], pred: str | None) -> str | None:
        """A status by the cheap path; None where a worker is needed."""
        if pred is None or not pred.strip():
            return "unparsable"
        if len(pred) > self.max_chars:
            return "too_long"
        verdicts = set()
        for gold in golds:
            try:
                short = len(gold) <= EXACT_MAX_CHARS and len(pred) <= EXACT_MAX_CHARS
                verdict = same_answer(gold, pred, same_value) if short else None
            except (RecursionError, ArithmeticError):
                verdict = None
            if verdict:
                return "equal"
            verdicts.add(verdict)
        if not balanced(pred):
            return "unparsable"  # cut off: no parser reads it
        return None if None in verdicts else "different"

    def _start_workers(self) -> "list[Future[None]]":
        """A thread for each worker process, once."""
        with self._lock:
            if self._closed:
                raise RuntimeError("this grader is closed")
            if self._threads:
                return []
            started: list[Future[None]] = [Future() for _ in range(self.workers)]
            self._threads = [threading.Thread(target=self._serve, args=(future,), daemon=True) for future in started]
            for thread in self._threads:
                thread.start()
        return started

    def _serve(self, started: "Future[None]") -> None:
        """A thread's life: keep a worker process, hand it one answer at a time, and start another one when it is gone."""
        worker: _Worker | None = None
        job: _Job | None = None
        while True:
            try:
                worker = worker or _Worker(self.deadline, self.memory_mb)
                if not started.done():
                    started.set_result(None)
                job = self._jobs.get()
                if job is None:
                    worker.end()
                    return
                if job.future.set_running_or_notify_cancel():
                    status = worker.grade(job)
                    if status is None:  # killed while it had nothing to do
                        worker = _Worker(self.deadline, self.memory_mb)
                        status = worker.grade(job) or "worker_died"
                    self._resolve(job.future, status)
                if worker.process.returncode is not None:
                    worker = None
            except Exception as error:  # whoever waits must learn of it, whatever it is
                if worker:
                    worker.end()
                    worker = None
                if not started.done():
                    started.set_exception(error)
                # A worker that does not start: the next answer in the queue learns of it.
                job = job or self._jobs.get()
                if job is None:
                    return
                if not job.future.cancelled():
                    job.future.set_exception(error)
            job = None

    def _resolve(self, future: "Future[Grade]", status: str) -> None:
        with self._lock:
            self.counts[status] += 1
        future.set_result(_GRADES[status])


class _Job(NamedTuple):
    golds: tuple[str, ...]
    pred: str
    future: "Future[Grade]"


class _Worker:
    """A process of grading/worker.py with the child that it forks, in a session of its own."""

    def __init__(self, deadline: float, memory_mb: int) -> None:
        self.deadline = deadline
        self.number = 0
        # A clean environment: no accelerator, no proxy and no credentials within reach of a parser.
        environment = {k: v for k, v in os.environ.items() if k in ("PATH", "LD_LIBRARY_PATH", "LANG", "HOME")}
        environment["PYTHONPATH"] = os.pathsep.join([_PACKAGE_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deltal_openrlhf.grading.worker", str(deadline), str(memory_mb)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, bufsize=0,
            start_new_session=True,
        )  # fmt: skip
        if self._line(time.monotonic() + _START_LIMIT) != "ready":
            self.end()
            raise RuntimeError(
                f"a grading worker did not start (exit code {self.process.returncode}); it needs math-verify: pip install -e '.[rewards]'"
            )

    def grade(self, job: _Job) -> str | None:
        """A status, by the deadline and a moment later at most; None where the process ended before it had taken the answer.
        The process is gone where it did not answer."""
        self.number += 1
        started = time.monotonic()
        request = {"id": self.number, "golds": job.golds, "pred": job.pred}
        taken = False
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(request).encode() + b"\n")  # type: ignore[union-attr]
            while line := self._line(started + self.deadline + _GRACE):
                number, status = line.split()
                if int(number) == self.number and status != "taken":
                    return status
                taken |= int(number) == self.number
        self.end()
        if time.monotonic() - started >= self.deadline:
            return "timeout"
        return "worker_died" if taken else None

    def _line(self, until: float) -> str | None:
        """The next line of the process; None when it ended or did not say one until then."""
        poll = select.poll()  # select() takes no descriptor above 1023
        poll.register(self.process.stdout, select.POLLIN)  # type: ignore[arg-type]
        ready = poll.poll(max(0.0, until - time.monotonic()) * 1000)
        return self.process.stdout.readline().decode().strip() or None if ready else None  # type: ignore[union-attr]

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()  # type: ignore[union-attr]
