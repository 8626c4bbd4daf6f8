"""Labelled pairs of a gold answer and a predicted one, from the public math sets: what a grader is measured on.

    python scripts/make_graded_pairs.py --data FOLDER --out pairs.jsonl [--holdout] [--seed 0] [--pairs 2400]

One line a pair: {"gold": text or list of texts, "pred": text or null, "label": bool, "kind": str, "source": str}. Golds come from the
files of FOLDER named in SOURCES and, for shapes that are rare there (intervals, sets, matrices, complex numbers, polynomials), from
templates. Each gold is written in other ways (equal) and spoilt (different); a fifth are GSM8K answers of real models, labelled by the
data set's authors. --holdout draws from the other half of the golds: no gold stands in both draws, whatever the seed.

A pair is written only if its label is right by value: both sides as structures, their expressions computed with
graded_pairs/latex_value.py, which shares nothing with a grader.

Conventions, those that Hendrycks' and Minerva's normalisation, math-verify and a human reader agree on:
- A unit, degree sign, dollar sign or percent sign given or left out is equal: "15 cm^2" and "15", "8%" and "8".
- A name on the left given or left out is equal: "x = 4" and "4", "f(x) = x + 1" and "x + 1", "x in [1, 2]" and "[1, 2]".
- An exact number and its rounded decimal are different: 1/3 and 0.333, pi and 3.14. Trailing zeros do not matter.
- Tuples are ordered, lists and sets are not. A list of numbers and the set of them are equal.
- (1, 2) and [1, 2] are different, and so is every other change of a bracket of an interval.
- Text and choices: letter case, brackets and fonts do not matter.
- Answers in other forms are equal: factored and expanded, mixed number and fraction, 2^10 and 1024, a surd over itself.
Left out, because graders disagree: another unit ("12 cm", "12 m"), "8%" against "0.08", degrees against radians, "x = 4" against "y = 4",
"52_8" against "52", "4/8" against "1/2", "2:1" against "2", an inequality against its interval, a vector against a tuple, an equation
multiplied by a number, decimals that agree to four digits or more.
"""

import argparse
import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from graded_pairs.equal import equal_variants
from graded_pairs.golds import all_golds, in_holdout, rows_of
from graded_pairs.latex_value import Unreadable
from graded_pairs.shapes import SCALARS, Answer, bare, equal, read
from graded_pairs.wrong import different_variants

GSM8K = "gsm8k_graded_pairs.jsonl"
GSM8K_SHARE = 0.2
PROSE = (
    *("unit_added", "unit_style", "money_added", "money_style", "percent_style", "degrees_added", "degrees_style"),
    *("plain_text", "inverse_trig"),
)
"""Kinds whose texts hold words or signs that the evaluator would read as letters."""


class Pair(NamedTuple):
    gold: str | list[str]
    pred: str | None
    label: bool
    kind: str
    source: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the data files")
    parser.add_argument("--out", type=Path, required=True, help="JSONL file to write")
    parser.add_argument("--pairs", type=int, default=2400, help="number of pairs (default 2400)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--holdout", action="store_true", help="draw from the other half of the golds")
    args = parser.parse_args()
    if args.pairs < 1:
        parser.exit(2, f"{parser.prog}: error: --pairs is {args.pairs}, allowed is 1 or more\n")
    try:
        pairs = make(args.data, args.pairs, args.seed, args.holdout)
    except (OSError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    args.out.write_text(
        "".join(json.dumps(pair._asdict(), ensure_ascii=False) + "\n" for pair in pairs), encoding="utf-8"
    )
    print(f"{args.out}: {len(pairs)} pairs, {sum(pair.label for pair in pairs)} equal")
    for label in (True, False):
        kinds = Counter(pair.kind for pair in pairs if pair.label is label)
        print(f"{'equal' if label else 'different'}: {', '.join(f'{kind} {n}' for kind, n in kinds.most_common())}")
    return 0


def make(data: Path, n: int, seed: int, holdout: bool) -> list[Pair]:
    """n pairs, about half of them equal, in random order."""
    rng = random.Random(f"{seed} {holdout}")
    golds = [(golds, source) for golds, source in all_golds(data) if in_holdout(golds[0]) is holdout]
    drawn = gsm8k(data, int(n * GSM8K_SHARE), rng, holdout)
    pools = {True: defaultdict(list), False: defaultdict(list)}
    for texts, source in golds:
        for pair in candidates(texts, source, golds, rng):
            pools[pair.label][pair.kind].append(pair)
    for label, pool in pools.items():
        drawn += balanced(pool, n // 2 - sum(pair.label is label for pair in drawn), rng)
    rng.shuffle(drawn)
    return drawn


def balanced(pool: dict[str, list[Pair]], n: int, rng: random.Random) -> list[Pair]:
    """n pairs with as even a number of each kind as the pool allows. Raises ValueError when it holds too few."""
    for pairs in pool.values():
        rng.shuffle(pairs)
    drawn: list[Pair] = []
    while len(drawn) < n:
        left = [kind for kind, pairs in pool.items() if pairs]
        if not left:
            raise ValueError(f"only {len(drawn)} pairs of {n} can be made from these golds")
        drawn += [pool[kind].pop() for kind in left]
    return drawn[:n]


def candidates(texts: list[str], source: str, golds: list, rng: random.Random) -> Iterator[Pair]:
    """Every pair of this gold whose label holds by value."""
    gold = texts[0] if len(texts) == 1 else texts
    answers = [read(text) for text in texts]
    seen = set()
    for text, answer in zip(texts, answers, strict=True):
        for label, variants in ((True, equal_variants), (False, different_variants)):
            for kind, pred, claim in variants(text, answer, rng):
                if (pred, label) in seen or claim is None and any(pred.strip() == t.strip("$ ") for t in texts):
                    continue
                if (
                    claim is None
                    or holds(claim, answers, label)
                    and (kind in PROSE or reads_back(pred, answers, label))
                ):
                    seen.add((pred, label))
                    yield Pair(gold, pred, label, kind, source)
    other, _ = rng.choice(golds)
    if read(other[0]).shape != "other" and answers[0].shape != "other" and holds(read(other[0]), answers, False):
        yield Pair(gold, other[0].strip("$"), False, "unrelated", source)
        # The last of several acceptable answers, and one that is none of them.
        shown = read(texts[-1])
        yield Pair([other[0], *texts], texts[-1].strip("$"), True, "several_golds", source)
        for kind, pred, claim in different_variants(texts[-1], shown, rng):
            if (
                kind in ("digit", "sign", "missing_element")
                and claim
                and holds(claim, [read(other[0]), *answers], False)
            ):
                yield Pair([other[0], *texts], pred, False, "several_golds", source)


def holds(claim: Answer, answers: list[Answer], label: bool) -> bool:
    """Whether the claimed structure equals one of the golds', or differs from all of them, as the label says."""
    try:
        return any(agree(answer, claim) for answer in answers) is label
    except Unreadable:
        return False


def reads_back(pred: str, answers: list[Answer], label: bool) -> bool:
    """A second check where one number or expression stands against another: the written text, read again, says the same."""
    answers = [bare(answer) for answer in answers]
    shown = bare(read(pred))
    if shown.shape in SCALARS and all(answer.shape in SCALARS for answer in answers):
        return holds(shown, answers, label)
    return True


def agree(a: Answer, b: Answer) -> bool:
    """Equal when what may be left out is left out: names, units, signs for money, degrees and percent."""
    return equal(bare(a), bare(b))


def gsm8k(data: Path, n: int, rng: random.Random, holdout: bool) -> list[Pair]:
    """Answers of real models, as many right as wrong, without repetitions."""
    rows = rows_of(data / GSM8K, "gold", "pred", "label")
    drawn: list[Pair] = []
    for label in (True, False):
        keys = dict.fromkeys(
            (r["gold"], r["pred"]) for r in rows if r["label"] is label and in_holdout(r["gold"]) is holdout
        )
        chosen = rng.sample(sorted(keys, key=str), min(n // 2, len(keys)))
        drawn += [Pair(gold, pred, label, f"gsm8k_{'right' if label else 'wrong'}", "gsm8k") for gold, pred in chosen]
    return drawn


if __name__ == "__main__":
    sys.exit(main())
