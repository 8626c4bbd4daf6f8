"""Other ways to write an answer: what models and graders' users really write, equal by the conventions of make_graded_pairs.py."""

import random
import re
from collections.abc import Iterator

from graded_pairs.expressions import rewritten
from graded_pairs.forms import forms
from graded_pairs.shapes import SCALARS, Answer, Variant, render, scalar


def equal_variants(text: str, answer: Answer, rng: random.Random) -> Iterator[Variant]:
    """Texts that stand for the same answer."""
    bare = text.strip().strip("$").strip() if text.count("$") <= 2 else text.strip()
    yield from (Variant(kind, new, answer) for kind, new in _cosmetic(bare, answer, rng))
    yield from (Variant(kind, new, answer) for kind, new in forms(answer, rng))
    for at, part in enumerate(answer.parts):
        if answer.shape in ("choice", "text", "tuples", "other", "mixed", "scientific", "fraction", "based", "ratio"):
            break
        for kind, new in rewritten(part, rng):
            parts = (*answer.parts[:at], new, *answer.parts[at + 1 :])
            yield Variant(kind, render(answer._replace(parts=parts)), answer._replace(parts=parts))
    if answer.shape in ("fraction", "mixed"):
        for kind, new in rewritten(
            scalar(answer._replace(shape="fraction")) if answer.shape == "fraction" else "", rng
        ):
            yield Variant(kind, new, Answer("expression", (new,)))


def _cosmetic(bare: str, answer: Answer, rng: random.Random) -> Iterator[tuple[str, str]]:
    yield "identical", bare
    if "$" not in bare.replace(r"\$", ""):
        yield "dollars", f"${bare}$"
        yield "latex_parens", rng.choice([rf"\({bare}\)", rf"\[ {bare} \]"])
        yield "boxed", rng.choice([rf"\boxed{{{bare}}}", rf"$\boxed{{{bare}}}$"])
        if answer.shape in (*SCALARS, "tuple") and not re.search("[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", bare)):
            letter = rng.choice(["x", "n", "k", "a", "S", r"\theta", "m", "y"])
            yield "name_added", f"{letter}{rng.choice([' = ', '='])}{bare}"
    yield "period", bare + "."
    yield "outer_spaces", rng.choice([f"  {bare} ", f"{bare}\n", f"\n{bare}\n"])
    if (
        (spaced := re.sub(r"(?<=[\w)}])([+=]|-(?!\d*[\]),]))(?=[\w\\({])", r" \1 ", bare)) != bare
        and "{-" not in bare
        and not re.search(r"\de", bare)
    ):
        yield "inner_spaces", spaced
    if (tight := re.sub(r"(?<![a-zA-Z]) | (?![a-zA-Z])", "", bare)) != bare and not re.search("text|mbox|\\$", bare):
        yield "inner_spaces", tight
    if (
        "\\left" not in bare
        and re.search(r"[(\[]", bare)
        and "\\log" not in bare
        and answer.shape not in ("choice", "other")
    ):
        sized = re.sub(r"\\?[(\[](?!\d\])|\\\{", lambda m: rf"\left{m[0]}", bare)
        yield (
            "left_right",
            re.sub(r"(?<!\d)\]|(?<=,\d)\]|(?<=, \d)\]|\)|\\\}", lambda m: rf"\right{m[0]}", sized)
            if "sqrt[" not in bare
            else bare,
        )
    elif "\\left" in bare:
        yield "left_right", re.sub(r"\\left ?|\\right ?", "", bare)
    for macro in ("dfrac", "tfrac"):
        if re.search(r"\\frac", bare):
            yield "frac_style", bare.replace(r"\frac", rf"\{macro}")
    if answer.shape in ("tuple", "list", "interval") and "\\," not in bare and ", " in bare:
        yield "thin_space", bare.replace(", ", r",\,")
