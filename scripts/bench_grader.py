"""What the math grader is worth: right answers, pairs a second, and what hostile answers do to it.

    python scripts/bench_grader.py accuracy pairs.jsonl [--baselines] [--failures FILE] [--out FILE]
    python scripts/bench_grader.py speed pairs.jsonl [--repeats 5] [--out FILE]
    python scripts/bench_grader.py hostile pairs.jsonl [--deadline 3] [--out FILE]

pairs.jsonl comes from scripts/make_graded_pairs.py. Baselines: math-verify called directly in two processes with its own time-outs, and
OpenRLHF's grade_answer in one. Exit status 1 when a target of the project is missed: accuracy 0.99 with wrong answers called equal at
most 0.5 % of all pairs; 2,500 pairs/s; every line of `hostile`.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from hostile_answers import hostile_answers

from deltal_openrlhf.grading.grader import Grader
from deltal_openrlhf.runs.files import records, write_atomically

WORKERS = 2
MEMORY_MB = 1024
ACCURACY, FALSE_EQUAL, PAIRS_PER_S = 0.99, 0.005, 2500
GOLDS = ("42", r"\frac{x^2+1}{3}")
"""What hostile answers are held against: a number, which a cheap path may decide, and an expression, which it cannot always."""
BLOCKED = 0.2
"""Processor seconds that a hostile answer may take in the asking process, where no deadline guards it."""
RECOVERED = 0.7
"""Least share of the speed before the hostile answers that is asked for after them."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run in (("accuracy", accuracy), ("speed", speed), ("hostile", hostile)):
        command = commands.add_parser(name, help=run.__doc__.splitlines()[0])
        command.set_defaults(run=run)
        command.add_argument("pairs", type=Path, help="JSONL file with gold, pred, label, kind")
        command.add_argument("--out", type=Path, help="write the result there as JSON")
    commands.choices["accuracy"].add_argument(
        "--baselines", action="store_true", help="also math-verify and OpenRLHF's grade_answer"
    )
    commands.choices["accuracy"].add_argument(
        "--failures", type=Path, help="write every wrongly graded pair there as JSONL"
    )
    commands.choices["speed"].add_argument(
        "--repeats", type=int, default=5, help="runs of each grader, in turns (default 5)"
    )
    commands.choices["hostile"].add_argument("--deadline", type=float, default=3.0, help="seconds a pair (default 3)")
    args = parser.parse_args()
    out = args.out and args.out.resolve()  # `hostile` runs in a folder of its own
    try:
        rows = [json.loads(line) for line in args.pairs.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: error: {args.pairs}: {error}\n")
    result, passed = args.run(rows, args)
    if out:
        write_atomically(out, records(result, 1))
    return 0 if passed else 1


def accuracy(rows: list[dict], args: argparse.Namespace) -> tuple[dict, bool]:
    """Share of right grades, wrong answers called equal, right answers called different, by kind."""
    graders: dict[str, Callable[[list[dict]], list[bool]]] = {"deltal": grade_with_ours}
    if args.baselines:
        graders |= {"math-verify": grade_with_math_verify, "OpenRLHF grade_answer": grade_with_openrlhf}
    results, verdicts = {}, {}
    for name, grade in graders.items():
        verdicts[name] = grade(rows)
        results[name] = summary(rows, verdicts[name])
        print(
            f"{name:<22} right {results[name]['accuracy']:.4f}  false equal {results[name]['false_equal']:.4f} of all, "
            f"{results[name]['false_equal_of_different']:.4f} of the different  false different {results[name]['false_different']:.4f}"
        )
    ours = results["deltal"]
    print("\nwrong by kind (of all of the kind)" + "".join(f"  {name}" for name in graders))
    kinds = Counter((row["label"], row["kind"]) for row in rows)
    for (label, kind), n in sorted(kinds.items()):
        wrong = [results[name]["wrong_by_kind"].get(f"{kind} {label}", 0) for name in graders]
        if any(wrong):
            print(f"{'equal' if label else 'different':<10}{kind:<22}{n:>5}  " + "".join(f"{k:>8}" for k in wrong))
    if args.failures:
        failed = [
            row | {"verdict": v} for row, v in zip(rows, verdicts["deltal"], strict=True) if v is not row["label"]
        ]
        args.failures.write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in failed), encoding="utf-8"
        )
    return results, ours["accuracy"] >= ACCURACY and ours["false_equal"] <= FALSE_EQUAL


def summary(rows: list[dict], verdicts: list[bool]) -> dict:
    n, different = len(rows), sum(not row["label"] for row in rows)
    wrong = [(row, verdict) for row, verdict in zip(rows, verdicts, strict=True) if verdict is not row["label"]]
    false_equal = sum(verdict for _, verdict in wrong)
    return {
        "pairs": n,
        "accuracy": 1 - len(wrong) / n,
        "false_equal": false_equal / n,
        "false_equal_of_different": false_equal / max(different, 1),
        "false_different": (len(wrong) - false_equal) / n,
        "wrong_by_kind": Counter(f"{row['kind']} {row['label']}" for row, _ in wrong),
    }


def golds_of(row: dict) -> list[str]:
    return row["gold"] if isinstance(row["gold"], list) else [row["gold"]]


def grade_with_ours(rows: list[dict]) -> list[bool]:
    with Grader(workers=WORKERS, memory_mb=MEMORY_MB) as grader:
        grades = grader.grade_many([(row["gold"], row["pred"]) for row in rows])
        print("statuses:", ", ".join(f"{status} {n}" for status, n in grader.counts.items() if n))
    return [grade.equal for grade in grades]


def grade_with_math_verify(rows: list[dict]) -> list[bool]:
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        return pool.map(math_verify_pair, [(golds_of(row), row["pred"]) for row in rows], chunksize=16)


def math_verify_pair(pair: tuple[list[str], str | None]) -> bool:
    """As its users call it: both sides in $, default settings."""
    import math_verify
    from math_verify.errors import TimeoutException

    golds, pred = pair
    if pred is None:
        return False
    in_dollars = [text if "$" in text.replace(r"\$", "") else f"${text}$" for text in (pred, *golds)]
    try:
        parsed, *parsed_golds = map(math_verify.parse, in_dollars)
        return any(math_verify.verify(gold, parsed) for gold in parsed_golds)
    except TimeoutException:
        return False


def grade_with_openrlhf(rows: list[dict]) -> list[bool]:
    from openrlhf.utils.math_utils import grade_answer

    return [any(bool(grade_answer(row["pred"], gold)) for gold in golds_of(row)) for row in rows]


def speed(rows: list[dict], args: argparse.Namespace) -> tuple[dict, bool]:
    """Pairs a second with two workers, ours and math-verify in turns, every run with fresh processes that are warmed up first."""
    pairs = [(row["gold"], row["pred"]) for row in rows]
    rates: dict[str, list[float]] = {"deltal": [], "math-verify": []}
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        for pool_pair in [(["x^2+1"], "1+x^2")] * 8:
            pool.apply(math_verify_pair, (pool_pair,))
        for repeat in range(args.repeats):
            for name in rates if repeat % 2 else reversed(rates):
                if name == "deltal":
                    with Grader(workers=WORKERS, memory_mb=MEMORY_MB) as grader:
                        warm_up(grader)
                        rates[name].append(rate_of(lambda grader=grader: grader.grade_many(pairs), len(pairs)))
                else:
                    work = [(golds_of(row), row["pred"]) for row in rows]
                    rates[name].append(
                        rate_of(lambda work=work: pool.map(math_verify_pair, work, chunksize=16), len(work))
                    )
            print(
                f"{repeat + 1}/{args.repeats}: "
                + ", ".join(f"{name} {rate[-1]:.0f} pairs/s" for name, rate in rates.items()),
                flush=True,
            )
    median = {name: statistics.median(rate) for name, rate in rates.items()}
    ratio = statistics.median(a / b for a, b in zip(*rates.values(), strict=True))
    print(f"median {median['deltal']:.0f} pairs/s; math-verify {median['math-verify']:.0f}; paired ratio {ratio:.2f}")
    return {"rates": rates, "median": median, "paired_ratio": ratio}, median["deltal"] >= PAIRS_PER_S


def warm_up(grader: Grader) -> None:
    """Pairs that need a parser, as many as reach every worker, none of them in any file of pairs."""
    grader.grade_many(
        [(rf"\frac{{x^{i}+17}}{{y+{i}}}", rf"\frac{{17+x^{{{i}}}}}{{{i}+y}}") for i in range(2, 2 + 10 * WORKERS)]
    )


def rate_of(work: Callable[[], object], n: int) -> float:
    began = time.perf_counter()
    work()
    return n / (time.perf_counter() - began)


def hostile(rows: list[dict], args: argparse.Namespace) -> tuple[dict, bool]:
    """Hostile answers mixed 1 in 20 into good pairs: what becomes of both, of the workers and of their memory."""
    with tempfile.TemporaryDirectory() as folder:
        canary = Path(folder, "canary")
        os.chdir(folder)
        bombs = list(hostile_answers(str(canary)).items())
        good = [(row["gold"], row["pred"]) for row in rows[: 20 * len(bombs)]]
        if len(good) < 20 * len(bombs):
            print(
                f"{args.pairs}: {len(good)} pairs for {len(bombs)} hostile answers, {20 * len(bombs)} make 1 in 20",
                file=sys.stderr,
            )
        environment = dict(os.environ)
        with Grader(workers=WORKERS, deadline=args.deadline, memory_mb=MEMORY_MB) as grader, MemoryWatch() as watch:
            expected = grader.grade_many(good)
            before = max(rate_of(lambda: grader.grade_many(good), len(good)) for _ in range(3))
            alone, waits, blocked = one_at_a_time(grader, bombs)
            mixed, bomb_at = mix(good, bombs)
            counts = Counter(grader.counts)
            began = time.perf_counter()
            grades = grader.grade_many(mixed)
            total = time.perf_counter() - began
            lost = Counter(grader.counts) - counts
            after = max(rate_of(lambda: grader.grade_many(good), len(good)) for _ in range(3))
            workers = len(children())
        left = children()
        unaffected = [grade for at, grade in enumerate(grades) if at not in bomb_at] == expected
        slow = {name: wait for name, wait in waits.items() if wait > args.deadline + 1}
        killed = lost["timeout"] + lost["worker_died"]
        # As long as the hostile answers took alone, shared by the workers, and the good pairs' time.
        alone_seconds = sum(waits[f"{name} against {gold_for(i)}"] for i, (name, _) in enumerate(bombs))
        bound = 1.5 * alone_seconds / WORKERS + args.deadline + 2 * len(good) / before
        checks = {
            f"{len(good)} good pairs graded as without the {len(bombs)} hostile answers": unaffected,
            f"every hostile answer done within the deadline + 1 s of its hand-over (longest {max(waits.values()):.2f} s)": not slow,
            f"handing an answer over takes at most {BLOCKED} s in the caller (longest {max(blocked.values()):.2f} s)": max(
                blocked.values()
            )
            <= BLOCKED,
            f"total {total:.1f} s for {killed} killed workers, at most {bound:.1f} s": total <= bound,
            "no hostile answer called equal": not any(grade.equal for grade in alone.values()),
            f"no code ran, environment and folder untouched: {sorted(os.listdir(folder))}": not os.listdir(folder)
            and dict(os.environ) == environment,
            f"workers' peak memory {watch.peak_mb:.0f} MB, limit {MEMORY_MB} MB": watch.peak_mb <= MEMORY_MB,
            f"{workers} processes at the end, {2 * WORKERS} wanted: {WORKERS} workers with a child each": workers
            == 2 * WORKERS,
            f"speed after {after:.0f} pairs/s, before {before:.0f}": after >= RECOVERED * before,
            f"nothing left running: {left}": not left,
        }
        os.chdir("/")
    for name, grade in alone.items():
        print(f"{name:<56}{grade.status:<12}{waits[name]:>7.2f} s")
    print()
    for check, passed in checks.items():
        print(f"{'ok  ' if passed else 'FAIL'} {check}")
    result = {
        "checks": checks,
        "seconds": waits,
        "statuses": {name: grade.status for name, grade in alone.items()},
        "mixed_seconds": total,
        "mixed_statuses": lost,
        "pairs_per_s": {"before": before, "after": after},
        "peak_mb": watch.peak_mb,
    }
    return result, all(checks.values())


def one_at_a_time(grader: Grader, bombs: Sequence[tuple[str, str]]) -> tuple[dict, dict, dict]:
    """Grade, seconds, and the caller's own processor seconds, of each against every gold of GOLDS, named "answer against gold".

    Never more are in hand than there are workers: what is submitted goes to a worker at once.
    """
    cases = {f"{name} against {gold}": (gold, pred) for gold in GOLDS for name, pred in bombs}
    seconds, blocked = {}, {}

    def grade(name: str):
        began, own = time.perf_counter(), time.thread_time()
        future = grader.submit(*cases[name])
        blocked[name] = time.thread_time() - own
        result = future.result()
        seconds[name] = time.perf_counter() - began
        return result

    with concurrent.futures.ThreadPoolExecutor(WORKERS) as threads:
        return dict(zip(cases, threads.map(grade, cases), strict=True)), seconds, blocked


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


def children() -> list[int]:
    """Process ids of all living descendants, zombies left out."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:  # it ended between the two looks
                continue
            if state != "Z":
                parents[int(entry.name)] = int(parent)
    found, wave = [], [os.getpid()]
    while wave:
        wave = [pid for pid, parent in parents.items() if parent in wave]
        found += wave
    return found


class MemoryWatch:
    """The largest resident memory of any descendant, read from /proc every 20 ms."""

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
            for pid in children():
                try:
                    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                except (OSError, IndexError):  # it ended
                    continue
                self.peak_mb = max(self.peak_mb, pages * os.sysconf("SC_PAGE_SIZE") / 2**20)


if __name__ == "__main__":
    sys.exit(main())
