"""The golds that pairs are made of: those of the public sets' files, and synthetic ones of shapes that the files hold few of."""

import hashlib
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path

from graded_pairs.shapes import bare, read

SOURCES = {
    "orz_math500.json": "final_answer",
    "orz_aime2024.json": "final_answer",
    "orz_math_57k_collected_prefix.jsonl": "answer",
    "ur1z_amc.jsonl": "answer",
    "ur1z_minerva.jsonl": "answer",
    "ur1z_olympiad_bench.jsonl": "answer",
}
SYNTHETIC_GOLDS = 500
WORDS = (
    "Monday Tuesday Friday Sunday red blue green hyperbola parabola circle line odd even neither Yes true "
    "false north west isosceles equilateral Alice Carla Maria Angela May October"
).split()
UNUSABLE = ("$221,$8$",)


def all_golds(data: Path) -> list[tuple[list[str], str]]:
    """(acceptable answers of one problem, source) without repetitions."""
    golds = {}
    for name, field in SOURCES.items():
        for row in rows_of(data / name, field):
            texts = row[field] if isinstance(row[field], list) else [row[field]]
            texts = list(dict.fromkeys(str(text).strip() for text in texts))
            if texts[0] and texts[0] not in UNUSABLE:
                golds.setdefault(tuple(texts), name.partition(".")[0])
    for text in synthetic_golds(SYNTHETIC_GOLDS):
        golds.setdefault((text,), "template")
    return [(list(texts), source) for texts, source in golds.items()]


def in_holdout(gold: str) -> bool:
    """Half of all golds, by what they say: the same number written in two ways falls on one side."""
    answer = bare(read(gold))
    key = gold if answer.shape == "choice" else " ".join(answer.parts).replace(" ", "")
    return hashlib.sha256(key.encode()).digest()[0] % 2 == 1


def rows_of(path: Path, *fields: str) -> list[dict]:
    """Rows of a JSON list or a JSONL file. Raises ValueError where it is none or a field is missing."""
    text = path.read_text(encoding="utf-8")
    try:
        rows = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    for number, row in enumerate(rows, 1):
        for field in fields:
            if field not in row:
                raise ValueError(f"{path}: row {number} has no field {field!r}; it has {', '.join(row)}")
    return rows


def synthetic_golds(n: int) -> Iterator[str]:
    """Golds in the formats of the MATH set, of shapes that the files hold few of. Always the same ones."""
    rng = random.Random(0)

    def nonzero(low: int = -9, high: int = 9) -> int:
        return rng.choice([k for k in range(low, high + 1) if k])

    def coprime(below: int) -> int:
        return rng.choice([k for k in range(1, 2 * below) if math.gcd(k, below) == 1])

    for i in range(n):
        a, b, c = sorted(rng.sample(range(-12, 30), 3))
        p, q, r = nonzero(), nonzero(), rng.choice([2, 3, 5, 6, 7, 10, 11])
        match i % 20:
            case 0:
                yield rf"\left[{a}, {b}\right)" if p > 0 else f"({a},{c}]"
            case 1:
                yield rf"(-\infty, {a}) \cup ({b}, \infty)" if p > 0 else rf"(-\infty,{a}] \cup [{b},{c}]"
            case 2:
                yield (
                    rf"\{{{a}, {b}, {c}\}}"
                    if p > 0
                    else rf"\left\{{{a}, \frac{{{2 * abs(q) + 1}}}{{2}}, {b + 40}\right\}}"
                )
            case 3:
                yield rf"\begin{{pmatrix}} {p} & {q} \\ {a} & {b} \end{{pmatrix}}"
            case 4:
                yield rf"\begin{{pmatrix}} {p} \\ {q} \\ {c} \end{{pmatrix}}"
            case 5:
                yield f"{c}{nonzero():+d}i".replace("+1i", "+i").replace("-1i", "-i")
            case 6:
                yield f"(x{p:+d})(x{q:+d})" if p != q else f"(x{p:+d})(y{q + 10:+d})"
            case 7:
                yield f"x^2{p + q:+d}x{p * q:+d}" if abs(p + q) > 1 else f"x^2{p:+d}"
            case 8:
                below = abs(q) + 2
                yield rf"{abs(p) + 1}\frac{{{coprime(below) % below}}}{{{below}}}"
            case 9:
                yield rf"{rng.randint(11, 99) / 10} \times 10^{{{rng.choice([-6, -4, -3, 3, 4, 5, 7, 9])}}}"
            case 10:
                yield rf"{c} \pm {abs(p) + 1}\sqrt{{{r}}}" if p > 0 else rf"{c} \pm \sqrt{{{r}}}"
            case 11:
                above = coprime(abs(q) + 1)
                yield rf"\frac{{{above if above > 1 else ''}\sqrt{{{r}}}}}{{{abs(q) + 1}}}"
            case 12:
                yield rf"{abs(p) + 1} + {abs(q) + 1}\sqrt{{{r}}}"
            case 13:
                yield (
                    rf"\$ {c * 1000 + 20000 + abs(p)}".replace(" ", "")
                    if p > 0
                    else str(1000 * abs(a * c) + 1000 * r + b * b)
                )
            case 14:
                choice = rng.choice("ABCDE")
                yield (
                    rng.choice([rf"\text{{({choice})}}", f"({choice})", f"\\textbf{{({choice})}}"])
                    if p > 4
                    else rf"\text{{{rng.choice(WORDS)}}}"
                )
            case 15:
                yield (
                    rf"\frac{{{r}\pi}}{{{abs(p) * r + 1}}}" if q > 0 else rf"\left({abs(p)}, \frac{{\pi}}{{{r}}}\right)"
                )
            case 16:
                yield (
                    f"{rng.randint(3, 900) / rng.choice([2, 4, 5, 8])}\\%"
                    if p > 0
                    else rf"{rng.randint(12, 170)}^\circ"
                )
            case 17:
                yield f"{rng.randint(2, 99)} \\text{{ {rng.choice(['cm', 'meters', 'feet', 'hours', 'minutes', 'kg'])}}}"
            case 18:
                yield f"y = {p + 10 * (p == 1)}x{q:+d}" if abs(p) > 1 else f"{abs(q)}:{r * 2 + 1}"
            case 19:
                yield (
                    rf"\sin({r}x)"
                    if p > 0
                    else rf"\log_{{{r}}} {abs(q) + 30}"
                    if q > 0
                    else rf"x^{{{r}}} + {abs(p) + 1}x"
                )
