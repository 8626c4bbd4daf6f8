r"""Edits of gold answers: such as change the value, such as do not, and such as make nonsense of it. Used by check_grader.py and tests."""

import random
import re
from collections.abc import Callable

Edit = Callable[[str, random.Random], str | None]
"""(gold, source of choices) -> another text; None where this edit does not apply."""

_COMMAND = r"\\[a-zA-Z]+"
_DIGIT = re.compile(r"\d")
_LETTER = re.compile(rf"{_COMMAND}|(?<![a-zA-Z])[a-zA-Z](?![a-zA-Z])")
_WORDS = re.compile(r"\\(?:text|mathrm|mbox|operatorname)\s*\{[^{}]*\}")
_BINDS = re.compile(r"[=|:<>]|\\(?:mid|in|le|ge|ne|sum|prod|int|forall)(?![a-zA-Z])")
UNITS = {
    "cm": "m",
    "m": "km",
    "kg": "g",
    "s": "ms",
    "km": "cm",
    "g": "kg",
    "MW": "mW",
    "cm^2": "cm^3",
    "m/s": "m s",
    "ms": "s",
}


# ── Edits that change the value ──


def another_digit(gold: str, rng: random.Random) -> str | None:
    """7 -> 4, anywhere but in \\text{} and in the name of a variable: x_1."""
    places = [
        m.start()
        for m in _DIGIT.finditer(gold)
        if not _in_words(gold, m.start()) and gold[m.start() - 1 : m.start()] != "_"
    ]
    if not places:
        return None
    place = rng.choice(places)
    return gold[:place] + rng.choice([d for d in "123456789" if d != gold[place]]) + gold[place + 1 :]


def one_digit_more(gold: str, rng: random.Random) -> str | None:
    """17 -> 171."""
    if re.search(r"\\[dtc]?(?:frac|sqrt|binom)\s*\d|\\frac\{[^{}]*\}\s*\d", gold):
        return None  # \\frac65 takes one digit
    numbers = [m for m in re.finditer(r"(?<![\d.,_])[1-9]\d*(?![\d.,])", gold) if not _in_words(gold, m.start())]
    if not numbers:
        return None
    number = rng.choice(numbers)
    return gold[: number.end()] + rng.choice("123456789") + gold[number.end() :]


def other_sign(gold: str, rng: random.Random) -> str | None:
    """17 -> -17, x + 1 -> -(x + 1), -3 -> 3. Not of zero, of words, or of what is no single value."""
    if re.search(
        r"[,=|:<>%]|\\(?:pm|in|mid|cup|begin|text|mathbb|infty|ldots|dots|emptyset|mbox|mathrm)(?![a-zA-Z])", gold
    ):
        return None
    bare = gold.strip("$ .")
    if not re.search(r"[1-9a-z]", bare) or re.fullmatch(r"[A-Za-z\s]+|0[0.]*\s*\\?[a-zA-Z].*", bare):
        return None
    if re.fullmatch(r"-\s*[\w.\\{}]+", bare):
        return bare[1:]
    return f"-({bare})" if re.search(r"[-+]", bare) else f"-{bare}"


def other_exponent(gold: str, rng: random.Random) -> str | None:
    """x^2 -> x^3, x^{10} -> x^{11}."""
    powers = [
        m
        for m in re.finditer(r"(?<=[\w})])\^\{?(\d+)(?=\}|[^\d{])", gold + " ")
        if not re.search(r"[01]\s*$", gold[: m.start()])
    ]
    if not powers:
        return None
    power = rng.choice(powers)
    return gold[: power.start(1)] + str(int(power[1]) + rng.randint(1, 3)) + gold[power.end(1) :]


def other_operator(gold: str, rng: random.Random) -> str | None:
    """a + b -> a - b, a \\cdot b -> a + b. Not next to 0 or 1, where it may change nothing."""
    if r"\pm" in gold or re.search(r"[,=|:<>]", gold):
        return None
    operators = [
        m
        for m in re.finditer(r"(?<=[\w})])\s*(\+|-|\\cdot(?![a-z])|\\times(?![a-z]))\s*(?=[\w\\({])", gold)
        if not _in_words(gold, m.start())
        and not re.match(r"\s*[01]", gold[m.end() :])
        and not re.search(r"[01]\s*$", gold[: m.start()])
    ]
    if not operators:
        return None
    operator = rng.choice(operators)
    return gold[: operator.start(1)] + {"+": "-", "-": "+"}.get(operator[1], "+") + gold[operator.end(1) :]


def other_variable(gold: str, rng: random.Random) -> str | None:
    """x^2 + y -> x^2 + z. Not where a letter may be bound: in equations, sets, sums."""
    if _BINDS.search(gold) or _WORDS.search(gold):
        return None
    letters = [m for m in _LETTER.finditer(gold) if len(m[0]) == 1 and m[0] not in "eidCABDEFGH"]
    if not letters or not re.search(r"[\d+*/^=-]|\\", gold):
        return None
    letter = rng.choice(letters)
    other = rng.choice([c for c in "abcmnpqrtuvwxyz" if c not in gold])
    return gold[: letter.start()] + other + gold[letter.end() :]


def another_unit(gold: str, rng: random.Random) -> str | None:
    r"""5 \text{ cm} -> 5 \text{ m}."""
    unit = re.search(r"\\(?:text|mathrm)\{\s*~?\s*([A-Za-z/^0-9 ]+?)\s*\}", gold)
    if unit is None or unit[1] not in UNITS:
        return None
    return gold[: unit.start(1)] + UNITS[unit[1]] + gold[unit.end(1) :]


def other_bracket(gold: str, rng: random.Random) -> str | None:
    """(0, 1] -> (0, 1)."""
    ends = re.fullmatch(r"\s*\$?\s*([(\[])([^()\[\]]*,[^()\[\]]*)([)\]])\s*\$?\s*", gold)
    if ends is None or ends[1] + ends[3] == "()":
        return None
    return f"{'(' if ends[1] == '[' else '['}{ends[2]}{ends[3]}"


def one_element_less(gold: str, rng: random.Random) -> str | None:
    """1, 2, 3 -> 1, 3."""
    parts = gold.split(",")
    if (
        len(parts) < 2
        or re.search(r"[()\[\]{}|=]|\d,\d{3}(?!\d)", gold)
        or len({part.strip() for part in parts}) < len(parts)
    ):
        return None
    parts.pop(rng.randrange(len(parts)))
    return ",".join(parts)


def swapped(gold: str, rng: random.Random) -> str | None:
    """(1, 2) -> (2, 1)."""
    pair = re.fullmatch(r"\s*\$?\(([^()\[\],]+),([^()\[\],]+)\)\$?\s*", gold)
    return f"({pair[2]},{pair[1]})" if pair and pair[1].strip() != pair[2].strip() else None


def floor_for_ceiling(gold: str, rng: random.Random) -> str | None:
    r"""\lfloor n / 2 \rfloor -> \lceil n / 2 \rceil."""
    if r"\lfloor" in gold:
        return gold.replace(r"\lfloor", r"\lceil").replace(r"\rfloor", r"\rceil")
    return gold.replace(r"\lceil", r"\lfloor").replace(r"\rceil", r"\rfloor") if r"\lceil" in gold else None


def other_parity(gold: str, rng: random.Random) -> str | None:
    """(-1)^n -> -1, (-1)^{n+1} -> (-1)^n."""
    power = re.search(r"\(-(\d)\)\s*\^\s*(?:\{([^{}]*)\}|([a-z]))", gold)
    if power is None or not re.search("[a-z]", power[2] or power[3]):
        return None
    exponent = power[2] or power[3]
    new = rng.choice([f"(-{power[1]})", f"(-{power[1]})^{{{exponent}+1}}", f"(-{power[1]}^{{{exponent}}})"])
    return gold[: power.start()] + new + gold[power.end() :]


CHANGES: tuple[Edit, ...] = (
    another_digit, one_digit_more, other_sign, other_exponent, other_operator, other_variable, another_unit, other_bracket,
    one_element_less, swapped, floor_for_ceiling, other_parity,
)  # fmt: skip


# ── Rewrites that do not change it ──


def in_dollars(gold: str, rng: random.Random) -> str | None:
    return None if "$" in gold else f"${gold}$"


def in_a_box(gold: str, rng: random.Random) -> str | None:
    return rf"\boxed{{{gold}}}" if gold.count("{") == gold.count("}") else None


def with_a_full_stop(gold: str, rng: random.Random) -> str | None:
    return None if gold.endswith((".", "$")) else f"{gold}."


def sized_brackets(gold: str, rng: random.Random) -> str | None:
    r"""(x) -> \left(x\right), where all brackets match."""
    if r"\left" in gold or r"\right" in gold or not _matched(gold):
        return None
    return (
        re.sub(r"(?<!\\)([()])", lambda m: rf"\left{m[1]}" if m[1] == "(" else rf"\right{m[1]}", gold)
        if "(" in gold
        else None
    )


def display_fractions(gold: str, rng: random.Random) -> str | None:
    return gold.replace(r"\frac", rng.choice([r"\dfrac", r"\tfrac"])) if r"\frac" in gold else None


def spaces(gold: str, rng: random.Random) -> str | None:
    """A space on each side of + and =."""
    return (
        re.sub(r"\s*([+=])\s*", r" \1 ", gold)
        if re.search(r"[+=]", _WORDS.sub("", gold)) and not _WORDS.search(gold)
        else None
    )


def other_product(gold: str, rng: random.Random) -> str | None:
    return (
        gold.replace(r"\cdot", r"\times")
        if r"\cdot" in gold
        else gold.replace(r"\times", r"\cdot")
        if r"\times" in gold
        else None
    )


def thousands(gold: str, rng: random.Random) -> str | None:
    """12345 -> 12,345."""
    return f"{int(gold):,}" if re.fullmatch(r"[1-9]\d{3,}", gold) else None


def as_a_decimal(gold: str, rng: random.Random) -> str | None:
    return f"{gold}.0" if re.fullmatch(r"-?\d+", gold) else None


def in_bold(gold: str, rng: random.Random) -> str | None:
    return None if "*" in gold else f"**{gold}**"


REWRITES: tuple[Edit, ...] = (
    in_dollars, in_a_box, with_a_full_stop, sized_brackets, display_fractions, spaces, other_product, thousands, as_a_decimal, in_bold,
)  # fmt: skip


# ── Nonsense ──

_PIECES = (
    *r"\ { } ^ _ $ ( ) [ ] | , = - + ! % \frac \sqrt \text{ \{ \} \left \begin{pmatrix} \end{pmatrix} ^\circ \boxed{".split(),
    *"e9 10^ ** ####".split(),
    *"\x00 \u0301 \ud800 \n ∞ ９ ½ π 的".split(" "),
)


def nonsense(gold: str, rng: random.Random) -> str:
    """A few pieces put in, taken out, doubled or swapped."""
    text = gold
    for _ in range(rng.randint(1, 4)):
        start, end = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
        choice = rng.randrange(4)
        if choice == 0:
            text = text[:start] + rng.choice(_PIECES) + text[start:]
        elif choice == 1:
            text = text[:start] + text[end:]
        elif choice == 2:
            text = text[:end] + text[start:end] * rng.randint(1, 3) + text[end:]
        else:
            text = text[start:] + text[:start]
    return text or rng.choice(_PIECES)


def _in_words(gold: str, position: int) -> bool:
    return any(m.start() <= position < m.end() for m in _WORDS.finditer(gold))


def _matched(gold: str) -> bool:
    depth = 0
    for character in gold:
        depth += (character == "(") - (character == ")")
        if depth < 0 or character in "[]":
            return False
    return depth == 0
