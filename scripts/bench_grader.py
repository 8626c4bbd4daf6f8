"""What the math grader is worth: right answers, pairs a second, and what hostile answers do to it.

    python scripts/bench_grader.py accuracy pairs.jsonl [--baselines] [--failures FILE] [--out FILE]
    python scripts/bench_grader.py speed pairs.jsonl [--repeats 5] [--out FILE]
    python scripts/bench_grader.py slow [--repeats 5] [--out FILE]
    python scripts/bench_grader.py hostile pairs.jsonl [--deadline 3] [--out FILE]

pairs.jsonl comes from scripts/make_graded_pairs.py. Baselines: math-verify called directly in two processes with its own time-outs, and
OpenRLHF's grade_answer in one. Exit status 1 when a target of the project is missed: accuracy 0.99 with wrong answers called equal at
most 0.5 % of all pairs; 5,000 pairs/s; pairs that need a worker as fast as by math-verify, and 10 times as fast when they come again; every
line of `hostile`.
"""

import argparse
import json
import math
import multiprocessing
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench_hostile import MEMORY_MB, WORKERS, hostile, rate_of

from deltal_openrlhf.grading.grader import Grader
from deltal_openrlhf.runs.files import records, write_atomically

ACCURACY, FALSE_EQUAL, PAIRS_PER_S = 0.99, 0.005, 5000
SLOW, AGAIN = 1.0, 10.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run in (("accuracy", accuracy), ("speed", speed), ("slow", slow), ("hostile", hostile)):
        command = commands.add_parser(name, help=run.__doc__.splitlines()[0])
        command.set_defaults(run=run)
        if run is not slow:
            command.add_argument("pairs", type=Path, help="JSONL file with gold, pred, label, kind")
        command.add_argument("--out", type=Path, help="write the result there as JSON")
    of_accuracy, of_speed, of_slow, of_hostile = (
        commands.choices[name].add_argument for name in ("accuracy", "speed", "slow", "hostile")
    )
    of_accuracy("--baselines", action="store_true", help="also math-verify and OpenRLHF's grade_answer")
    of_accuracy("--failures", type=Path, help="write every wrongly graded pair there as JSONL")
    for of_command in (of_speed, of_slow):
        of_command("--repeats", type=int, default=5, help="runs of each grader, in turns (default 5)")
    of_hostile("--deadline", type=float, default=3.0, help="seconds a pair (default 3)")
    args = parser.parse_args()
    out = args.out and args.out.resolve()  # `hostile` runs in a folder of its own
    try:
        rows = (
            slow_pairs()
            if args.run is slow
            else [json.loads(line) for line in args.pairs.read_text(encoding="utf-8").splitlines()]
        )
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
    result = in_turns(rows, args.repeats)
    return result, result["median"]["deltal"] >= PAIRS_PER_S


def slow(rows: list[dict], args: argparse.Namespace) -> tuple[dict, bool]:
    """As `speed`, of pairs that the cheap path leaves to a worker (`slow_pairs`), once and again."""
    with Grader(workers=WORKERS, memory_mb=MEMORY_MB) as grader:
        left = [row for row in rows if not grader.submit(row["gold"], row["pred"]).done()]
    print(f"{len(left)} of {len(rows)} pairs need a worker")
    result = in_turns(left, args.repeats)
    again = statistics.median(b / a for a, b in zip(result["rates"]["deltal"], result["again"], strict=True))
    print(f"again: {again:.0f} x as fast")
    return result | {"again_ratio": again, "pairs": len(left)}, result["paired_ratio"] >= SLOW and again >= AGAIN


def slow_pairs() -> list[dict]:
    """Sums, products, integrals, conjugates, vectors, remainders and powers of matrices; every second one is wrong by 1."""
    pairs = []
    for i in range(2, 62):
        wrong = i % 2
        pairs += [
            (rf"\sum_{{k=1}}^{{{i}}} k", f"{i * (i + 1) // 2 + wrong}"),
            (rf"\prod_{{k=1}}^{{{i % 9 + 1}}} (k+{i})", str(math.prod(k + i for k in range(1, i % 9 + 2)) + wrong)),
            (rf"\int_0^{{{i}}} 2x\,dx", f"{i * i + wrong}"),
            (rf"\overline{{z}}+{i}", rf"{i + wrong}+\overline{{z}}"),
            (rf"\vec{{a}}+{i}\vec{{b}}", rf"{i + wrong}\vec{{b}}+\vec{{a}}"),
            (rf"{i}\Re(z)", rf"{i + wrong}\Re(z)"),
        ]
    return [{"gold": gold, "pred": pred} for gold, pred in pairs]


def in_turns(rows: list[dict], repeats: int) -> dict:
    """Rates of ours and of math-verify, and of ours for the same pairs again."""
    pairs = [(row["gold"], row["pred"]) for row in rows]
    rates: dict[str, list[float]] = {"deltal": [], "math-verify": []}
    again = []
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        for pool_pair in [(["x^2+1"], "1+x^2")] * 8:
            pool.apply(math_verify_pair, (pool_pair,))
        for repeat in range(repeats):
            for name in rates if repeat % 2 else reversed(rates):
                if name == "deltal":
                    with Grader(workers=WORKERS, memory_mb=MEMORY_MB) as grader:
                        warm_up(grader)
                        ours = partial(grader.grade_many, pairs)
                        rates[name].append(rate_of(ours, len(pairs)))
                        again.append(rate_of(ours, len(pairs)))
                else:
                    theirs = partial(
                        pool.map, math_verify_pair, [(golds_of(row), row["pred"]) for row in rows], chunksize=16
                    )
                    rates[name].append(rate_of(theirs, len(rows)))
            said = ", ".join(f"{name} {rate[-1]:.0f} pairs/s" for name, rate in rates.items())
            print(f"{repeat + 1}/{repeats}: {said}", flush=True)
    median = {name: statistics.median(rate) for name, rate in rates.items()}
    ratio = statistics.median(a / b for a, b in zip(*rates.values(), strict=True))
    print(f"median {median['deltal']:.0f} pairs/s; math-verify {median['math-verify']:.0f}; paired ratio {ratio:.2f}")
    return {"rates": rates, "again": again, "median": median, "paired_ratio": ratio}


def warm_up(grader: Grader) -> None:
    """Pairs that need a parser, as many as reach every worker, none of them in any file of pairs."""
    grader.grade_many([(rf"\overline{{z}}+{i}", rf"{i}+\overline{{z}}") for i in range(2, 2 + 10 * WORKERS)])
    grader.grade(r"5\text{ km}", r"5000\text{ m}")  # imports pint


if __name__ == "__main__":
    sys.exit(main())
