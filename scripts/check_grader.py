"""Whether the grader calls right what is right and wrong what is wrong, on edits of real gold answers.

    python scripts/check_grader.py FILE... [--edits 20000] [--fuzz 20000] [--seed 0] [--json FILE]

FILE: a data set that `deltal data` reads, or JSON lines with gold. Shown are
    self        golds that are not equal to themselves
    rewrites    golds that are not equal to a rewriting that changes nothing (scripts/gold_edits.py)
    edits       golds that are equal to an edit that changes the value (also scripts/word_edits.py)
    symmetry    edits and rewrites that are judged otherwise the other way round
    fuzz        mutated golds that end a worker, or are judged otherwise the second time (time-outs apart)
Exit status 1 where there is any.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from gold_edits import CHANGES, REWRITES, nonsense
from word_edits import WORD_CHANGES, dressed

from deltal_openrlhf.data.math_problems import read_gsm8k, read_math
from deltal_openrlhf.data.sources import Skipped
from deltal_openrlhf.grading.grader import Grader
from deltal_openrlhf.grading.labels import golds_of
from deltal_openrlhf.runs.files import write_atomically

SHOWN = 60
DRESSED = 0.2
"""Share of the golds that are edited with a unit, where they are plain numbers."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--edits", type=int, default=20_000, help="edits that change the value (default 20000)")
    parser.add_argument("--fuzz", type=int, default=20_000, help="mutated golds (default 20000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures and all faults there")
    args = parser.parse_args()
    golds = list(dict.fromkeys(gold for path in args.files for gold in golds_in(path)))
    print(f"{len(golds):,} golds")
    rng = random.Random(args.seed)
    with Grader() as grader:
        faults = {
            "self": unequal(grader, [(gold, gold) for gold in golds]),
            "rewrites": unequal(grader, rewritten := list(rewrites(golds, rng))),
            "edits": equal(grader, changed := list(changes(golds, rng, args.edits))),
            "symmetry": one_sided(grader, [*rewritten, *changed]),
            "fuzz": unsteady(grader, [(gold := rng.choice(golds), nonsense(gold, rng)) for _ in range(args.fuzz)]),
        }
    tried = {"self": len(golds), "rewrites": len(rewritten), "edits": len(changed)}
    tried |= {"symmetry": len(rewritten) + len(changed), "fuzz": args.fuzz}
    for name, found in faults.items():
        print(f"\n{name}: {len(found):,} faults in {tried[name]:,}")
        for fault in found[:SHOWN]:
            print("   ", " | ".join(fault).encode("utf-8", "backslashreplace").decode())
    if args.json:
        figures = {"golds": len(golds), "seed": args.seed, "tried": tried, "faults": faults}
        write_atomically(args.json, json.dumps(figures, indent=1) + "\n")
    return int(any(faults.values()))


def golds_in(path: str) -> list[str]:
    if path.endswith(".jsonl"):
        rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
        if "gold" in rows[0]:
            return [row["gold"] for row in rows if isinstance(row["gold"], str)]
    skipped: list[Skipped] = []
    reader = read_gsm8k if "gsm8k" in path else read_math
    return [gold for problem in reader(path, skipped) for gold in golds_of(problem.label)]


def rewrites(golds: Sequence[str], rng: random.Random) -> Iterator[tuple[str, str]]:
    for gold in golds:
        for rewrite in REWRITES:
            text = rewrite(gold, rng)
            if text is not None:
                yield gold, text


def changes(golds: Sequence[str], rng: random.Random, n: int) -> Iterator[tuple[str, str]]:
    """n different pairs, each kind as often as it applies."""
    seen = set()
    for _ in range(20 * n):
        gold = rng.choice(golds)
        if rng.random() < DRESSED:
            gold = dressed(gold, rng)
        text = rng.choice(CHANGES + WORD_CHANGES)(gold, rng)
        if text is not None and text != gold and (gold, text) not in seen:
            seen.add((gold, text))
            yield gold, text
            if len(seen) == n:
                return


def unequal(grader: Grader, pairs: Sequence[tuple[str, str]]) -> list[list[str]]:
    grades = timed("equal ones", grader, pairs)
    return [[*pair, grade.status] for pair, grade in zip(pairs, grades, strict=True) if not grade.equal]


def equal(grader: Grader, pairs: Sequence[tuple[str, str]]) -> list[list[str]]:
    grades = timed("different ones", grader, pairs)
    return [list(pair) for pair, grade in zip(pairs, grades, strict=True) if grade.equal]


def one_sided(grader: Grader, pairs: Sequence[tuple[str, str]]) -> list[list[str]]:
    there = grader.grade_many(pairs)
    back = timed("the other way round", grader, [pair[::-1] for pair in pairs])
    return [
        [*pair, f"{one.status} / {other.status}"]
        for pair, one, other in zip(pairs, there, back, strict=True)
        if one.equal != other.equal
    ]


def unsteady(grader: Grader, pairs: Sequence[tuple[str, str]]) -> list[list[str]]:
    first = timed("nonsense", grader, pairs)
    with Grader() as another:
        second = another.grade_many(pairs)
    return [
        [*pair, f"{one.status} / {other.status}"]
        for pair, one, other in zip(pairs, first, second, strict=True)
        if "timeout" not in (one.status, other.status) and (one != other or one.status == "worker_died")
    ]


def timed(name: str, grader: Grader, pairs: Sequence[tuple[str, str]]) -> list:
    started = time.perf_counter()
    grades = grader.grade_many(pairs)
    seconds = time.perf_counter() - started
    statuses = ", ".join(f"{n:,} {status}" for status, n in Counter(grade.status for grade in grades).most_common())
    print(f"{name}: {len(pairs):,} in {seconds:.1f} s: {statuses}", flush=True)
    return grades


if __name__ == "__main__":
    sys.exit(main())
