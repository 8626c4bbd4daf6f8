"""What hostile answers do to the math grader: `python scripts/bench_grader.py hostile`."""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from hostile_answers import hostile_answers

from deltal_openrlhf.grading.grader import Grade, Grader

WORKERS = 2
MEMORY_MB = 1024
GOLDS = ("42", r"\frac{x^2+1}{3}")
"""What hostile answers are held against: a number, which a cheap path may decide, and an expression, which it cannot always."""
BLOCKED = 0.2
"""Processor seconds that a hostile answer may take in the asking process, where no deadline guards it."""
RECOVERED = 0.7
"""Least share of the speed before the hostile answers that is asked for after them."""


def hostile(rows: list[dict], args: argparse.Namespace) -> tuple[dict, bool]:
    """Hostile answers mixed 1 in 20 into good pairs: what becomes of both, of the workers and of their memory."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        bombs = list(hostile_answers(str(Path(folder, "canary"))).items())
        good = [(row["gold"], row["pred"]) for row in rows[: 20 * len(bombs)]]
        if len(good) < 20 * len(bombs):
            said = f"{len(good)} pairs for {len(bombs)} hostile answers, {20 * len(bombs)} make 1 in 20"
            print(f"{args.pairs}: {said}", file=sys.stderr)
        environment = dict(os.environ)
        with Grader(workers=WORKERS, deadline=args.deadline, memory_mb=MEMORY_MB) as grader, MemoryWatch() as watch:
            result, checks = bombarded(grader, good, bombs)
            workers = len(children())
        left, files = children(), sorted(os.listdir(folder))
        checks |= {
            f"no code ran, environment and folder untouched: {files}": not files and dict(os.environ) == environment,
            f"workers' peak memory {watch.peak_mb:.0f} MB, limit {MEMORY_MB} MB": watch.peak_mb <= MEMORY_MB,
            f"{workers} processes at the end, {2 * WORKERS} wanted: {WORKERS} workers with a child each": workers
            == 2 * WORKERS,
            f"nothing left running: {left}": not left,
        }
        os.chdir("/")
    for name, status in result["statuses"].items():
        print(f"{name:<56}{status:<12}{result['seconds'][name]:>7.2f} s")
    print()
    for check, passed in checks.items():
        print(f"{'ok  ' if passed else 'FAIL'} {check}")
    return {"checks": checks, **result, "peak_mb": watch.peak_mb}, all(checks.values())


def bombarded(grader: Grader, good: list, bombs: Sequence[tuple[str, str]]) -> tuple[dict, dict[str, bool]]:
    """The figures, and what is to be checked of them: every hostile answer alone, then all of them among the good pairs."""
    expected = grader.grade_many(good)
    before = max(rate_of(lambda: grader.grade_many(good), len(good)) for _ in range(3))
    alone, waits, blocked = one_at_a_time(grader, bombs)
    mixed, bomb_at = mix(good, bombs)
    # By a grader that remembers none of them.
    with Grader(workers=WORKERS, deadline=grader.deadline, memory_mb=MEMORY_MB).start() as fresh:
        began = time.perf_counter()
        grades = fresh.grade_many(mixed)
        total = time.perf_counter() - began
        lost = Counter(fresh.counts)
    after = max(rate_of(lambda: grader.grade_many(good), len(good)) for _ in range(3))
    unaffected = [grade for at, grade in enumerate(grades) if at not in bomb_at] == expected
    killed = lost["timeout"] + lost["worker_died"]
    # As long as the hostile answers took alone, shared by the workers, and the good pairs' time.
    alone_seconds = sum(waits[f"{name} against {gold_for(i)}"] for i, (name, _) in enumerate(bombs))
    bound = 1.5 * alone_seconds / WORKERS + grader.deadline + 2 * len(good) / before
    longest, held = max(waits.values()), max(blocked.values())
    checks = {
        f"{len(good)} good pairs graded as without the {len(bombs)} hostile answers": unaffected,
        f"every hostile answer done within the deadline + 1 s of its hand-over (longest {longest:.2f} s)": longest
        <= grader.deadline + 1,
        f"handing an answer over takes at most {BLOCKED} s in the caller (longest {held:.2f} s)": held <= BLOCKED,
        f"total {total:.1f} s for {killed} killed workers, at most {bound:.1f} s": total <= bound,
        "no hostile answer called equal": not any(grade.equal for grade in alone.values()),
        f"speed after {after:.0f} pairs/s, before {before:.0f}": after >= RECOVERED * before,
    }
    figures = {
        "seconds": waits,
        "statuses": {name: grade.status for name, grade in alone.items()},
        "mixed_seconds": total,
        "mixed_statuses": lost,
        "pairs_per_s": {"before": before, "after": after},
    }
    return figures, checks


def one_at_a_time(grader: Grader, bombs: Sequence[tuple[str, str]]) -> tuple[dict, dict, dict]:
    """Grade, seconds, and the caller's own processor seconds, of each against every gold of GOLDS, named "answer against gold".

    One is in hand at a time, since slow ones share a worker: what is submitted goes to a worker at once.
    """
    cases = {f"{name} against {gold}": (gold, pred) for gold in GOLDS for name, pred in bombs}
    seconds, blocked = {}, {}

    def grade(name: str) -> Grade:
        began, own = time.perf_counter(), time.thread_time()
        future = grader.submit(*cases[name])
        blocked[name] = time.thread_time() - own
        result = future.result()
        seconds[name] = time.perf_counter() - began
        return result

    return {name: grade(name) for name in cases}, seconds, blocked


def mix(good: list, bombs: Sequence[tuple[str, str]]) -> tuple[list, set[int]]:
    """One hostile answer after every len(good) / len(bombs) good pairs, and where they stand."""
    step = len(good) // len(bombs)
    mixed, at = [], set()
    for i, (_, pred) in enumerate(bombs):
        mixed += good[i * step : (i + 1) * step]
        at.add(len(mixed))
        mixed.append((gold_for(i), pred))
    return mixed + good[len(bombs) * step :], at


def gold_for(i: int) -> str:
    return GOLDS[i % len(GOLDS)]


def children() -> list[psutil.Process]:
    """All living descendants, zombies left out."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


class MemoryWatch:
    """The largest resident memory of any descendant, read every 20 ms."""

    def __enter__(self) -> "MemoryWatch":
        self.peak_mb = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            for process in children():
                with suppress(psutil.NoSuchProcess):
                    self.peak_mb = max(self.peak_mb, process.memory_info().rss / 2**20)


def rate_of(work: Callable[[], object], n: int) -> float:
    began = time.perf_counter()
    work()
    return n / (time.perf_counter() - began)
