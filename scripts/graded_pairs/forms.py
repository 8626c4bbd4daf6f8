"""The forms that each shape of answer has besides its plain one: 1,234 and 1234, 0.5 and 1/2, (C) and C, 1 +- 2 and -1, 3."""

import random
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction

from graded_pairs.latex_value import Unreadable, value
from graded_pairs.shapes import Answer, render

Forms = Iterator[tuple[str, str]]
"""(kind, text) of each form."""

UNITS = (
    *(
        r" cm",
        r"\text{ cm}",
        r"\,\text{cm}",
        r" \mathrm{~m}",
        r"\text{ inches}",
        r" \text{ square units}",
        r"\text{ cm}^2",
    ),
    *(
        r" \text{ m/s}",
        " km",
        " minutes",
        r"\text{ hours}",
        " dollars",
        r" \text{ units}",
        " meters",
        r"\mathrm{~kg}",
        " days",
    ),
)


def forms(answer: Answer, rng: random.Random) -> Forms:
    """Forms that a shape has besides its plain one."""
    if answer.shape in FORMS:
        yield from FORMS[answer.shape](answer, rng)


def _integer(answer: Answer, rng: random.Random) -> Forms:
    digits = answer.parts[0]
    n = int(digits)
    if abs(n) >= 1000:
        grouped = f"{n:,}"
        yield "thousands", rng.choice([grouped, *(grouped.replace(",", comma) for comma in ("{,}", r",\!", r"\,"))])
    yield "trailing_zero", digits + rng.choice([".0", ".00", "."])
    if n > 0:
        yield "leading_plus", "+" + digits
        yield "leading_zero", rng.choice(["0", "00"]) + digits
        yield "unit_added", digits + rng.choice(UNITS)
        yield "money_added", rng.choice([rf"\${digits}", f"${digits}", rf"\${digits}.00"])
    if 0 < n < 360:
        styles = [rf"{digits}^\circ", rf"{digits}^{{\circ}}", f"{digits} degrees", f"{digits}°"]
        yield "degrees_added", rng.choice(styles)
    if 0 < n <= 100:
        yield "percent_added", rf"{digits}\%"
    yield "text_wrapped", rf"\text{{{digits}}}"


def _decimal(answer: Answer, rng: random.Random) -> Forms:
    digits = answer.parts[0]
    yield "trailing_zero", digits + "0"
    if digits.startswith("0."):
        yield "leading_zero", digits[1:]
    else:
        yield "leading_zero", digits.replace(".", "0.", 1) if digits[0] == "." else digits
    exact = Fraction(digits)
    if exact.denominator <= 1000:
        yield "decimal_to_fraction", rng.choice([r"\frac{%d}{%d}", "%d/%d"]) % (exact.numerator, exact.denominator)


def _scientific(answer: Answer, rng: random.Random) -> Forms:
    mantissa, exponent = answer.parts
    yield "scientific_e", rng.choice([f"{mantissa}e{exponent}", f"{mantissa}E{int(exponent):+03d}"])
    signs = (r" \cdot ", r"\times", r" \times ")
    yield "scientific_style", rng.choice([f"{mantissa}{sign}10^{{{exponent}}}" for sign in signs])
    plain = Fraction(mantissa) * Fraction(10) ** int(exponent)
    if plain.denominator == 1 and plain < 10**13:
        yield "scientific_plain", rng.choice([str(plain), f"{int(plain):,}"])
    elif 10**-7 < plain < 1:
        digits = len(mantissa.partition(".")[2]) - int(exponent)
        yield "scientific_plain", f"{float(plain):.{digits}f}"


def _fraction(answer: Answer, rng: random.Random) -> Forms:
    a, b = map(int, answer.parts)
    sign = "-" if a < 0 else ""
    yield "inline_fraction", rng.choice([f"{a}/{b}", f"{a} / {b}"])
    macros = ("dfrac", "tfrac", "cfrac")
    yield "frac_style", rng.choice([rf"{sign}\{macro}{{{abs(a)}}}{{{b}}}" for macro in macros])
    yield "frac_braces", rf"{sign}\frac{abs(a)}{b}" if abs(a) < 10 and b < 10 else rf"{sign}\frac{{{abs(a)}}}{{{b}}}"
    if a < 0:
        yield "sign_place", rng.choice([rf"\frac{{{a}}}{{{b}}}", rf"\frac{{{-a}}}{{-{b}}}"])
    elif a > b > 1 and a % b:
        mixed = rng.choice([r"%d\frac{%d}{%d}", r"%d \frac{%d}{%d}", "%d %d/%d"])
        yield "fraction_as_mixed", mixed % (a // b, a % b, b)
    if (exact := terminating(a, b)) is not None:
        short = exact.replace("0.", ".", 1) if exact.lstrip("-").startswith("0.") else exact
        yield "decimal", rng.choice([exact, exact + "0", short])


def _expression(answer: Answer, rng: random.Random) -> Forms:
    text = answer.parts[0]
    if m := re.fullmatch(r"(\d*) ?\\sqrt\{?(\d+)\}?", text):
        styles = [f"{m[1]}*sqrt({m[2]})", f"{m[1]}sqrt({m[2]})", f"{m[1]}√{m[2]}"]
        yield "plain_text", rng.choice(styles) if m[1] else f"sqrt({m[2]})"
    elif m := re.fullmatch(r"(\d+) ?\\pi", text):
        yield "plain_text", rng.choice([f"{m[1]}*pi", f"{m[1]}π", f"{m[1]} pi"])
    elif "^" in text and re.fullmatch(r"[\w +*/().-]*\^?\{?[\w +*/().-]*\}?", text):
        yield "plain_text", text.replace("{", "(").replace("}", ")")


def _mixed(answer: Answer, rng: random.Random) -> Forms:
    whole, above, below = map(int, answer.parts)
    total = (abs(whole) * below + above) * (-1 if whole < 0 else 1)
    yield "mixed_as_fraction", rng.choice([rf"\frac{{{total}}}{{{below}}}", f"{total}/{below}"])
    fractions = (f" {above}/{below}", rf" \dfrac{{{above}}}{{{below}}}", rf"\,\frac{{{above}}}{{{below}}}")
    yield "mixed_style", rng.choice([f"{whole}{fraction}" for fraction in fractions])


def _degrees(answer: Answer, rng: random.Random) -> Forms:
    yield "degrees_style", answer.parts[0] + rng.choice(["^{\\circ}", " degrees", "°", r"\text{ degrees}"])
    yield "unit_omitted", answer.parts[0]


def _percent(answer: Answer, rng: random.Random) -> Forms:
    yield "percent_style", answer.parts[0] + rng.choice([r"\%", "%", r"\ \%", " percent"])
    yield "unit_omitted", answer.parts[0]


def _money(answer: Answer, rng: random.Random) -> Forms:
    amount = answer.parts[0]
    whole, dot, cents = amount.partition(".")
    styles = [rf"\${amount}", f"${amount}", f"{amount} dollars", rf"\text{{\${amount}}}"]
    yield "money_style", rng.choice([*styles, rf"\${int(whole):,}{dot}{cents}"])
    yield "unit_omitted", amount


def _unit(answer: Answer, rng: random.Random) -> Forms:
    name, square = answer.after.removesuffix("^2"), "^2" if answer.after.endswith("^2") else ""
    styles = (rf"\text{{ {name}}}", rf"\, \mathrm{{{name}}}", rf"\ \text{{{name}}}", rf" \mathrm{{~{name}}}")
    yield "unit_style", answer.parts[0] + rng.choice(styles) + square
    yield "unit_omitted", answer.parts[0]


def _ratio(answer: Answer, rng: random.Random) -> Forms:
    yield "ratio_style", rng.choice([" : ", r"\!:\!", ":"]).join(answer.parts)


def _based(answer: Answer, rng: random.Random) -> Forms:
    yield "base_style", f"{answer.parts[0]}_{answer.after}" if len(answer.after) == 1 else render(answer)
    yield "base_style", rf"{answer.parts[0]}_{{{answer.after}}}"


def _choice(answer: Answer, rng: random.Random) -> Forms:
    letter = answer.parts[0]
    styles = (
        "%s",
        "(%s)",
        r"\textbf{(%s)}",
        r"\text{(%s)}",
        r"\text{%s}",
        r"\textbf{%s}",
        "%s.",
        "%s)",
        r"\mathrm{(%s)}",
    )
    yield "choice_style", rng.choice(styles) % letter


def _text(answer: Answer, rng: random.Random) -> Forms:
    word = answer.parts[0]
    macros = [rf"\text{{{word.lower()}}}", rf"\text{{ {word} }}", rf"\mathrm{{{word}}}", rf"\textbf{{{word}}}"]
    styles = [word, word.lower(), word.upper(), *macros, rf"\text{{{word.capitalize()}}}", word.lower() + "."]
    yield "text_style", rng.choice(styles)


def _list_or_set(answer: Answer, rng: random.Random) -> Forms:
    parts, is_list, ordered = answer.parts, answer.shape == "list", _sorted(answer.parts)
    mixed = rng.sample(parts, len(parts))
    if not is_list or ordered:
        yield "order", render(answer._replace(parts=tuple(mixed)))
        yield "order", render(answer._replace(parts=parts[::-1]))
    if is_list:
        joined = [rf"{', '.join(parts[:-1])} \text{{ {word} }} {parts[-1]}" for word in ("and", "or")]
        yield "list_words", rng.choice([*joined, f"{', '.join(parts[:-1])} and {parts[-1]}"])
    if is_list and ordered:
        yield "list_named", ", ".join(f"x = {part}" for part in parts)
        yield "list_as_set", rf"\{{{', '.join(parts)}\}}"
    elif ordered:
        yield "set_as_list", ", ".join(parts)


def _tuples(answer: Answer, rng: random.Random) -> Forms:
    parts = answer.parts
    yield "order", ", ".join(rng.sample(parts, len(parts)))
    yield "order", ",".join(parts[::-1])
    yield "list_words", rf"{', '.join(parts[:-1])} \text{{ and }} {parts[-1]}"


def _interval(answer: Answer, rng: random.Random) -> Forms:
    text = render(answer)
    yield "interval_named", rf"x \in {text}"
    if "\\infty" in text:
        yield "infinity_style", re.sub(r"(?<![-+])\\infty", r"+\\infty", text)


def _union(answer: Answer, rng: random.Random) -> Forms:
    text = render(answer)
    yield "union_order", r" \cup ".join(text.split(r" \cup ")[::-1])
    yield "union_style", text.replace(r" \cup ", r"\cup")
    yield "interval_named", rf"x \in {text}"


def _matrix(answer: Answer, rng: random.Random) -> Forms:
    text = render(answer)
    yield "matrix_style", text.replace("pmatrix", "bmatrix")
    yield "matrix_style", text.replace(" ", "") if "\\frac" not in text else text


def _equation(answer: Answer, rng: random.Random) -> Forms:
    yield "name_dropped", answer.parts[0]
    yield "equation_spaces", answer.before + rng.choice(["=", " = "]) + answer.parts[0]


def _inequality(answer: Answer, rng: random.Random) -> Forms:
    long = {r"\ge": r"\geq", r"\le": r"\leq"}.get(answer.after, answer.after)
    yield "relation_style", f"{answer.before} {long} {answer.parts[0]}"
    yield "relation_style", f"{answer.before}{long} {answer.parts[0]}"


def _plus_minus(answer: Answer, rng: random.Random) -> Forms:
    a, b = answer.parts
    yield "plus_minus_as_list", rng.choice([rf"{a} + {b}, {a} - {b}", rf"{a} - {b} \text{{ and }} {a} + {b}"])
    yield "plus_minus_style", rf"{a}\pm{b}"


FORMS: dict[str, Callable[[Answer, random.Random], Forms]] = {
    "integer": _integer, "decimal": _decimal, "scientific": _scientific, "fraction": _fraction, "expression": _expression,
    "mixed": _mixed, "degrees": _degrees, "percent": _percent, "money": _money, "unit": _unit, "ratio": _ratio, "based": _based,
    "choice": _choice, "text": _text, "list": _list_or_set, "set": _list_or_set, "tuples": _tuples, "interval": _interval,
    "union": _union, "matrix": _matrix, "equation": _equation, "inequality": _inequality, "plus_minus": _plus_minus,
}  # fmt: skip


def terminating(a: int, b: int) -> str | None:
    """a/b in decimals when they end after at most six places."""
    for places in range(1, 7):
        if a * 10**places % b == 0:
            return str(Decimal(a * 10**places // b).scaleb(-places)) if a % b else None
    return None


def _sorted(parts: tuple[str, ...]) -> bool:
    """In rising or falling order: a list that is not may mean its order."""
    try:
        numbers = [value(part).real for part in parts]
    except Unreadable:
        return False
    return numbers in (sorted(numbers), sorted(numbers, reverse=True))
