"""Equal expressions in another form: terms and factors in another order, surds, powers, brackets multiplied out."""

import random
import re
from collections.abc import Iterator

import mpmath

from graded_pairs.latex_value import Unreadable, value
from graded_pairs.shapes import negated, summed, terms_of


def rewritten(leaf: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Equal expressions in another form."""
    for ways in (_fraction_or_surd, _sum_or_power, _brackets, _computed, _function):
        yield from ways(leaf, rng)


def _fraction_or_surd(leaf: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    if re.fullmatch(r"\\frac\{([^{}]|\{[^{}]*\})*\}\{([^{}]|\{[^{}]*\})*\}", leaf):
        above, below = _braced(leaf[5:])
        if not (above + below).isdigit():
            yield (
                "inline_fraction",
                "/".join(x if re.fullmatch(r"\d+|[a-z]|\\pi", x) else f"({x})" for x in (above, below)),
            )
        if (m := re.fullmatch(r"(\d*)\\sqrt\{(\d+)\}", above)) and below.isdigit():
            coefficient = rf"\frac{{{m[1] or 1}}}{{{below}}}"
            yield "surd_form", rng.choice([rf"{coefficient}\sqrt{{{m[2]}}}", rf"\sqrt{{{m[2]}}}\cdot{coefficient}"])
            if m[2] == below and not m[1]:
                yield "surd_form", rf"\frac{{1}}{{\sqrt{{{below}}}}}"
        if above in (r"\pi", "n", "x") and below.isdigit():
            yield "factor_form", rf"\frac{{1}}{{{below}}}{above}"
    if m := re.fullmatch(r"(\d+) ?\\sqrt\{?(\d+)\}?", leaf):
        yield (
            "surd_order",
            rng.choice(
                [rf"\sqrt{{{m[2]}}}\cdot {m[1]}", rf"\sqrt{{{m[2]}}} \times {m[1]}", rf"{m[1]}\cdot\sqrt{{{m[2]}}}"]
            ),
        )
        yield "surd_form", rf"\sqrt{{{int(m[1]) ** 2 * int(m[2])}}}"
        if len(m[2]) == 1:
            yield "sqrt_braces", rf"{m[1]}\sqrt{m[2]}" if "{" in leaf else rf"{m[1]}\sqrt{{{m[2]}}}"
    if m := re.fullmatch(r"(\d+) ?\\pi", leaf):
        yield "factor_order", rng.choice([rf"\pi \cdot {m[1]}", rf"{m[1]} \cdot \pi", rf"{m[1]} \times \pi"])


def _sum_or_power(leaf: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    terms = terms_of(leaf)
    if len(terms) > 1:
        turned = terms[1:] + terms[:1] if len(terms) == 2 else rng.sample(terms, len(terms))
        yield "commuted_sum", summed(turned)
        if not re.search(r"\\pm|sqrt|frac|\d[a-z]|\d\(", leaf) and rng.random() < 0.3:
            yield "negated_bracket", f"-({summed([negated(term) for term in terms])})"
    if (braced := re.sub(r"\^([0-9a-z])(?!\d)", r"^{\1}", leaf)) != leaf:
        yield "power_braces", braced
    elif (bare := re.sub(r"\^\{([0-9a-z])\}", r"^\1", leaf)) != leaf:
        yield "power_braces", bare
    if (
        (dotted := re.sub(r"(?<=\d) ?(?=\\sqrt|\\pi|\(|[a-hj-z](?![a-z]))", r" \\cdot ", leaf, count=1)) != leaf
        and "\\log" not in leaf
        and "\\frac1" not in leaf
    ):
        yield "times_sign", dotted


def _brackets(leaf: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    if m := re.fullmatch(r"\(([a-z])([+-]\d+)\)\(([a-z])([+-]\d+)\)", leaf.replace(" ", "")):
        x, p, y, q = m[1], int(m[2]), m[3], int(m[4])
        middle = f"{p + q:+d}{x}".replace("+1" + x, "+" + x).replace("-1" + x, "-" + x)
        yield (
            "expanded",
            f"{x}^2{middle}{p * q:+d}"
            if x == y and p + q
            else f"{x}{y}{q:+d}{x}{p:+d}{y}{p * q:+d}"
            if x != y
            else leaf,
        )
        yield "factor_order", f"({y}{q:+d})({x}{p:+d})"
    if m := re.fullmatch(r"([a-z])\^2([+-]\d+)\1([+-]\d+)", leaf.replace(" ", "")):
        b, c = int(m[2]), int(m[3])
        root = int(max(b * b - 4 * c, 0) ** 0.5)
        if root * root == b * b - 4 * c and (b + root) % 2 == 0 and b * b > 4 * c:
            yield "factored", f"({m[1]}{(b + root) // 2:+d})({m[1]}{(b - root) // 2:+d})"
    if m := re.fullmatch(r"([a-z0-9]+)\(([a-z])([+-]\d+)\)", leaf.replace(" ", "")):
        yield "factor_order", f"({m[2]}{m[3]}){m[1]}" if m[1].isalpha() else f"{m[1]}({m[3].lstrip('+')}+{m[2]})"


def _computed(leaf: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    if re.fullmatch(r"[\d^{}+\-! ()]|(?:[\d^{}+\-! ()]|\\cdot|\\times|\\binom)+", leaf) and not re.fullmatch(
        r"-?\d+", leaf
    ):
        try:
            number = value(leaf).real
        except Unreadable:
            return
        if number == mpmath.floor(number) and 0 < number < 10**9:
            yield "computed", str(int(number))


def _function(leaf: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    if re.search(r"\\arc(sin|cos|tan)", leaf):
        yield "inverse_trig", re.sub(r"\\arc(sin|cos|tan)", r"\\\1^{-1}", leaf)
    if m := re.fullmatch(r"\\(sin|cos|tan|cot|ln|log) ?([a-z])", leaf):
        yield "function_brackets", rf"\{m[1]}({m[2]})"


def _braced(text: str) -> list[str]:
    depth, groups = 0, [""]
    for char in text:
        depth += (char == "{") - (char == "}")
        if depth == 0 and char == "}":
            groups.append("")
        elif not (depth == 1 and char == "{"):
            groups[-1] += char
    return groups[:2]
