"""Wrong answers that look like the right one: one digit, sign, bracket, letter or element is another, or there is no answer."""

import random
import re
from collections.abc import Iterator

import mpmath

from graded_pairs.latex_value import value
from graded_pairs.shapes import Answer, Variant, negated, read, render, scalar, summed, terms_of

OTHER_TEXTS = "Evelyn Navin Briana east west even odd neither ellipse parabola circle No Yes".split()
NO_ANSWERS = ("", " ", "None", r"\text{undefined}", "no solution", "?", r"\text{cannot be determined}")


def different_variants(text: str, answer: Answer, rng: random.Random) -> Iterator[Variant]:
    """Texts that stand for another answer, or for none."""
    yield Variant("no_answer", rng.choice(NO_ANSWERS), None)
    if len(text) > 8 and (cut := truncated(text.strip().strip("$"), rng)) is not None:
        yield Variant("truncated", cut, None)
    if answer.shape in WHOLE:
        yield from WHOLE[answer.shape](answer, rng)
    elif answer.shape != "other":
        for kind, new in _wrong_parts(answer, rng):
            yield _variant(kind, new)
        yield from _wrong_structure(answer, rng)


def _wrong_choice(answer: Answer, rng: random.Random) -> Iterator[Variant]:
    right = answer.parts[0]
    letter = rng.choice([x for x in "ABCDE" if x != right])
    both = rng.choice(["(%s), (%s)", "%s or %s", r"\text{(%s)} \text{ and } \text{(%s)}", "%s, %s"])
    yield Variant("hedged", both % (right, letter), Answer("list", (right, letter)))
    styles = [letter, f"({letter})", rf"\text{{({letter})}}", rf"\textbf{{({letter})}}"]
    yield Variant("other_choice", rng.choice(styles), answer._replace(parts=(letter,)))


def _wrong_text(answer: Answer, rng: random.Random) -> Iterator[Variant]:
    word = rng.choice([x for x in OTHER_TEXTS if x != answer.parts[0]])
    yield Variant("other_text", rng.choice([word, rf"\text{{{word}}}"]), answer._replace(parts=(word,)))


def _wrong_tuples(answer: Answer, rng: random.Random) -> Iterator[Variant]:
    parts, first = answer.parts, read(answer.parts[0])
    if len(parts) > 2:
        yield _variant("missing_element", answer._replace(parts=parts[:-1]))
    else:
        yield Variant("missing_element", parts[0], first)
    turned = first._replace(parts=first.parts[::-1])
    for kind, new in (("swapped_order", turned), *_wrong_parts(first, rng)):
        yield _variant(kind, answer._replace(parts=(render(new), *parts[1:])))


WHOLE = {"choice": _wrong_choice, "text": _wrong_text, "tuples": _wrong_tuples}
"""Shapes whose parts are no expressions."""


def _wrong_structure(answer: Answer, rng: random.Random) -> Iterator[Variant]:
    """Another order, bracket, relation or number of elements."""
    parts, shape = answer.parts, answer.shape
    if shape == "tuple":
        yield _variant("swapped_order", answer._replace(parts=parts[::-1]))
        yield Variant("missing_element", parts[0], Answer("expression", parts[:1]))
        if all(part.isdigit() for part in parts):
            yield Variant("joined", "".join(parts), Answer("integer", ("".join(parts),)))
    if shape in ("list", "set"):
        at = rng.randrange(len(parts))
        yield _variant("missing_element", answer._replace(parts=parts[:at] + parts[at + 1 :]))
        yield _variant("extra_element", answer._replace(parts=(*parts, str(rng.randint(2, 99)))))
    if shape in ("interval", "union"):
        yield from _wrong_interval(answer, rng)
    if shape == "matrix" and answer.after != "1" and len(parts) == int(answer.after) ** 2:
        n = int(answer.after)
        yield _variant("transposed", answer._replace(parts=tuple(parts[j * n + i] for i in range(n) for j in range(n))))
    if shape == "plus_minus":
        one = rf"{parts[0]} + {parts[1]}"
        yield Variant("missing_element", one, Answer("expression", (one,)))
    if shape == "inequality":
        turned = {r"\ge": r"\le", r"\le": r"\ge", ">": "<", "<": ">"}[answer.after]
        yield _variant("relation", answer._replace(after=turned))
    if shape == "based":
        yield _variant("other_base", answer._replace(after=str(int(answer.after) + rng.choice([-1, 1]))))
    if shape == "ratio":
        yield _variant("swapped_order", answer._replace(parts=parts[::-1]))
    if shape == "integer":
        other = str(int(parts[0]) + rng.choice([-2, -1, 1, 2, 10]))
        both = rng.choice([r"%s \text{ or } %s", "%s or %s", "%s, %s"]) % (parts[0], other)
        yield Variant("hedged", both, Answer("list", (parts[0], other)))


def _wrong_interval(answer: Answer, rng: random.Random) -> Iterator[Variant]:
    is_union = answer.shape == "union"
    ends = answer.before if is_union else answer.before + answer.after
    at = rng.choice([i for i, part in enumerate(answer.parts) if "\\infty" not in part])
    turned = ends[:at] + {"(": "[", "[": "(", ")": "]", "]": ")"}[ends[at]] + ends[at + 1 :]
    yield _variant(
        "bracket", answer._replace(before=turned) if is_union else answer._replace(before=turned[0], after=turned[1])
    )
    if is_union:
        yield Variant("missing_element", render(answer).split(r" \cup ")[0], None)


def _variant(kind: str, claim: Answer) -> Variant:
    return Variant(kind, render(claim), claim)


def _wrong_parts(answer: Answer, rng: random.Random) -> Iterator[tuple[str, Answer]]:
    """One part changed."""
    parts, shape = answer.parts, answer.shape
    if shape == "fraction":
        sign = "-" if parts[0].startswith("-") else ""
        yield "reciprocal", answer._replace(parts=(sign + parts[1], parts[0].lstrip("-")))
    candidates = [i for i, part in enumerate(parts) if "\\infty" not in part]
    at = rng.choice(candidates)
    for kind, new in wrong_leaves(parts[at], rng, integer=shape in ("integer", "mixed", "based", "ratio", "fraction")):
        if kind != "sign" or at == 0 or shape not in ("fraction", "mixed"):
            yield kind, answer._replace(parts=(*parts[:at], new, *parts[at + 1 :]))
    if shape in ("fraction", "decimal", "scientific", "expression"):
        exact = value(scalar(answer))
        if exact.imag == 0 and not re.search(
            "[a-zA-Z]", re.sub(r"\\(frac|sqrt|pi|ln|log|sin|cos|tan|cdot|times)", " ", scalar(answer))
        ):
            if shape in ("fraction", "expression") and 1e-3 < abs(exact) < 1e6:
                short = mpmath.nstr(exact.real, rng.choice([3, 4]))
                if 2e-4 < abs(mpmath.mpf(short) / exact.real - 1) < 1e-2 and "e" not in short:
                    yield "rounded", Answer("decimal", (short,))
            if shape == "decimal":
                yield (
                    "factor_of_100",
                    Answer(
                        "decimal",
                        (mpmath.nstr(exact.real * rng.choice([100, 10, mpmath.mpf("0.01")]), 15, strip_zeros=True),),
                    ),
                )


def wrong_leaves(leaf: str, rng: random.Random, integer: bool = False) -> Iterator[tuple[str, str]]:
    """Expressions close to this one: one digit, sign, letter, factor or operator is another."""
    places = [m.start() for m in re.finditer(r"\d", leaf)]
    if leaf.strip("0.") == "":
        yield "digit", "7"
        return
    if places:
        at = rng.choice(places[:2] if "." in leaf else places)
        alone = (at == 0 or not leaf[at - 1].isdigit()) and at + 1 < len(leaf) and leaf[at + 1].isdigit()
        digit = rng.choice(
            [d for d in "0123456789" if d != leaf[at] and not (d == "0" and (alone or len(places) == 1))]
        )
        yield "digit", leaf[:at] + digit + leaf[at + 1 :]
    if leaf.isdigit():
        yield "off_by_one", str(int(leaf) + 1)
        if len(leaf) > 1 and leaf[-1] != leaf[-2]:
            yield "digits_swapped", leaf[:-2] + leaf[-1] + leaf[-2] if len(leaf) > 2 or leaf[-1] != "0" else leaf + "0"
        if not integer:
            return
    if integer and not leaf.lstrip("-").isdigit():
        return
    terms = terms_of(leaf)
    yield (
        "sign",
        leaf[1:]
        if leaf.startswith("-") and len(terms) == 1
        else "-" + leaf
        if len(terms) == 1
        else summed([terms[0], negated(terms[1]), *terms[2:]]),
    )
    letters = [
        m
        for m in re.finditer(
            r"(?<![a-zA-Z\\])[a-zA-Z](?![a-zA-Z])", re.sub(r"\\[a-zA-Z]+", lambda m: "\\" * len(m[0]), leaf)
        )
    ]
    names = sorted({m[0] for m in letters} - {"e", "i", "f"})
    if names:
        name = rng.choice(names)
        other = rng.choice([x for x in "knmxyzt" if x != name])
        yield (
            "other_variable",
            "".join(other if any(m.start() == i and m[0] == name for m in letters) else c for i, c in enumerate(leaf)),
        )
    for factor in (r"\pi", r"\sqrt", "i"):
        if m := re.fullmatch(rf"(.*\d) ?{re.escape(factor)}(\{{?(\d+)\}}?)?", leaf):
            yield "missing_factor", m[1] if factor != r"\sqrt" else (m[1] + r" \cdot " + m[3] if m[3] else m[1])


def truncated(text: str, rng: random.Random) -> str | None:
    """The text cut inside a bracket that holds more: broken, and not to be mended by closing the bracket."""
    inside = [
        m.end()
        for m in re.finditer(r"\\frac\{[^{}]+\}\{(?=\d\d|[^{}\d])|\\sqrt\{(?=\d\d)|\\d?frac\{[^{}]+\}(?=\{)", text)
    ]
    return text[: rng.choice(inside)] if inside else None
