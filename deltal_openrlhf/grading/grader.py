"""Grades answers of a model, whatever the model wrote: no answer can hang, crash or fool the process that asks.

    with Grader() as grader:
        grader.grade(r"\\frac{1}{2}", "0.5")      # Grade(equal=True, status="equal")

Short answers are compared here, by our own bounded arithmetic (answers.py, values.py). The rest goes to worker processes that this
object owns, one answer at a time each: one that takes longer than the deadline, or more memory than its limit, is ended and replaced,
and only the answer that it had is lost. What a worker found is remembered. Answers that may take long wait in a lane of their own, and a
kind of answer that keeps timing out gets less time (lanes.py).

Other tasks than math have a scorer of their own: grader.of(scorer) grades with it in the same way, but for the comparison here.
"""

import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from deltal_openrlhf.grading.answers import CANNOT_TELL, same_answer
from deltal_openrlhf.grading.grades import STATUSES, Grade, grade_of
from deltal_openrlhf.grading.labels import MAX_CHARS
from deltal_openrlhf.grading.lanes import Deadlines, Lanes, kind_of, slow_kind
from deltal_openrlhf.grading.process import MATH, Scorer, Worker
from deltal_openrlhf.grading.reading.extract import balanced
from deltal_openrlhf.grading.values.equality import same_value

EXACT_MAX_CHARS = 300
"""Longer texts are not looked at in this process."""
REMEMBERED = 10_000
"""Grades of workers that are kept."""
REMEMBERED_CHARS = 8_000
"""Golds and answers that are longer together are not kept."""


class Grader:
    """workers: processes; of two or more, one takes no answer that may be slow. deadline: seconds that one answer may take in a worker,
    at most. memory_mb: address space of a worker, in MiB. max_chars: length of an answer above which it is too_long. scorer: what the
    workers grade with. Thread-safe, also after a fork. Processes start with the first answer that needs one."""

    def __init__(
        self,
        *,
        workers: int = 2,
        deadline: float = 3.0,
        memory_mb: int = 1024,
        max_chars: int = MAX_CHARS,
        scorer: Scorer = MATH,
    ) -> None:
        for name, value, least in (
            ("workers", workers, 1), ("deadline", deadline, 0.01), ("memory_mb", memory_mb, 512), ("max_chars", max_chars, 1),
        ):  # fmt: skip
            if not value >= least:
                raise ValueError(f"{name} is {value}, allowed is {least} or more")
        if workers > (most := max(8, 4 * (os.cpu_count() or 1))):
            # Each takes a core while it starts, and 60 MB.
            raise ValueError(f"workers is {workers}, allowed are {most} at most on {os.cpu_count()} cores")
        self.workers, self.deadline, self.memory_mb, self.max_chars = workers, deadline, memory_mb, max_chars
        self.scorer = scorer
        self.counts: Counter[str] = Counter(dict.fromkeys(STATUSES, 0))
        self._process = 0
        self._after_fork()

    def _after_fork(self) -> None:
        """In a process that was forked, begin anew: it has neither the threads nor the workers, and perhaps a lock that nobody opens."""
        if self._process == os.getpid():
            return
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._lanes: Lanes[_Job] = Lanes()
        self._deadlines = Deadlines(self.deadline)
        self._waiting: dict[_Pair, _Job] = {}
        self._remembered: OrderedDict[_Pair, Grade] = OrderedDict()
        self._others: dict[Scorer, Grader] = {}
        self._threads: list[threading.Thread] = []
        self._closed = False

    def start(self) -> "Grader":
        """Start the workers and wait until they are ready. Raises RuntimeError where one does not start."""
        self._after_fork()
        for started in self._start_workers():
            started.result()
        return self

    def of(self, scorer: Scorer) -> "Grader":
        """The grader with these settings and another scorer. It is the same each time, and ends with this one."""
        self._after_fork()
        with self._lock:
            if self._closed:
                raise RuntimeError("this grader is closed")
            if scorer not in self._others:
                settings = {name: getattr(self, name) for name in ("workers", "deadline", "memory_mb", "max_chars")}
                self._others[scorer] = Grader(**settings, scorer=scorer)
            return self._others[scorer]

    def submit(self, golds: str | Sequence[str], pred: str | None) -> "Future[Grade]":
        """The grade of one answer, now or later. golds: one gold answer or several, of which one has to be met; for another scorer than
        that of math, what it scores by."""
        golds = (golds,) if isinstance(golds, str) else tuple(golds)
        if not golds or not all(isinstance(gold, str) and gold.strip() for gold in golds):
            raise ValueError(f"a gold answer is a non-empty text, or several of them, not {golds!r}")
        future: Future[Grade] = Future()
        self._after_fork()
        status = self._without_worker(golds, pred)
        grade = (
            self._to_a_worker((golds, pred or ""), future) if status is None else grade_of(status, self.scorer != MATH)
        )
        if grade is not None:
            self._resolve([future], grade)
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
        for other in self._others.values():
            other.close()
        self._lanes.close()
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
        if self.scorer != MATH:
            return None
        verdicts = set()
        for gold in golds:
            try:
                short = len(gold) <= EXACT_MAX_CHARS and len(pred) <= EXACT_MAX_CHARS
                verdict = same_answer(gold, pred, same_value) if short else None
            except CANNOT_TELL:
                verdict = None
            if verdict:
                return "equal"
            verdicts.add(verdict)
        if not balanced(pred):
            return "unparsable"  # cut off: no parser reads it
        return None if None in verdicts else "different"

    def _to_a_worker(self, pair: "_Pair", future: "Future[Grade]") -> Grade | None:
        """Put a pair into a lane, once however often it is asked for; its grade where that is known."""
        self._start_workers()
        with self._lock:
            if pair in self._remembered:
                self._remembered.move_to_end(pair)
                return self._remembered[pair]
            if pair in self._waiting:
                self._waiting[pair].futures.append(future)
                return None
            kind = kind_of(pair[1])
            read = (
                (*pair[0], pair[1]) if self.scorer == MATH else pair[1:]
            )  # other scorers do not read golds as answers
            slow = any(map(slow_kind, read)) or self._deadlines.times_out(kind)
            job = self._waiting[pair] = _Job(pair, kind, slow, [future])
        self._lanes.put(job, slow)
        return None

    def _start_workers(self) -> "list[Future[None]]":
        """A thread for each worker process, once."""
        with self._lock:
            if self._closed:
                raise RuntimeError("this grader is closed")
            if self._threads:
                return []
            started: list[Future[None]] = [Future() for _ in range(self.workers)]
            self._threads = [
                threading.Thread(target=self._serve, args=(future, number > 0 or self.workers == 1), daemon=True)
                for number, future in enumerate(started)
            ]
            for thread in self._threads:
                thread.start()
        return started

    def _serve(self, started: "Future[None]", slow_too: bool) -> None:
        """A thread's life: keep a worker process, hand it one answer at a time, and start another one when it is gone."""
        worker: Worker | None = None
        job: _Job | None = None
        while True:
            try:
                worker = worker or Worker(self.memory_mb, self.scorer)
                if not started.done():
                    started.set_result(None)
                job = self._lanes.take(slow_too)
                if job is None:
                    worker.end()
                    return
                if self._is_wanted(job):
                    golds, pred = job.pair
                    deadline = self._deadlines.of(job.kind, job.slow)
                    said = worker.grade(golds, pred, deadline)
                    if said is None:  # killed while it had nothing to do
                        worker = Worker(self.memory_mb, self.scorer)
                        said = worker.grade(golds, pred, deadline) or "worker_died"
                    grade = grade_of(said, self.scorer != MATH)
                    if not said.startswith(grade.status):  # not what a worker says: it is not to be trusted
                        worker.end()
                    self._deadlines.saw(job.kind, job.slow, grade.status == "timeout")
                    self._resolve(self._done(job, grade), grade)
                if worker.process.returncode is not None:
                    worker = None
            except Exception as error:  # whoever waits must learn of it, whatever it is
                if worker:
                    worker.end()
                    worker = None
                if not started.done():
                    started.set_exception(error)
                # A worker that does not start: the next answer in the queue learns of it.
                job = job or self._lanes.take(slow_too)
                if job is None:
                    return
                for future in self._done(job):
                    if future.set_running_or_notify_cancel():
                        future.set_exception(error)
            job = None

    def _is_wanted(self, job: "_Job") -> bool:
        """Whether anybody still waits for this job, which is over otherwise."""
        with self._lock:
            wanted = not all(future.cancelled() for future in job.futures)
            if not wanted:
                del self._waiting[job.pair]
                for future in job.futures:
                    future.set_running_or_notify_cancel()
        return wanted

    def _done(self, job: "_Job", grade: Grade | None = None) -> "list[Future[Grade]]":
        """All who wait for this job; from here on its grade is remembered, unless it says more of the worker than of the answer."""
        chars = sum(map(len, job.pair[0])) + len(job.pair[1])
        with self._lock:
            del self._waiting[job.pair]
            if grade and grade.status != "worker_died" and chars <= REMEMBERED_CHARS:
                self._remembered[job.pair] = grade
                if len(self._remembered) > REMEMBERED:
                    self._remembered.popitem(last=False)
            return job.futures

    def _resolve(self, futures: "list[Future[Grade]]", grade: Grade) -> None:
        for future in futures:
            if future.set_running_or_notify_cancel():
                with self._lock:
                    self.counts[grade.status] += 1
                future.set_result(grade)


_Pair = tuple[tuple[str, ...], str]
"""Golds and answer."""


class _Job(NamedTuple):
    pair: _Pair
    kind: str
    slow: bool
    futures: "list[Future[Grade]]"
