"""The forms that each shape of answer has besides its plain one: 1,234 and 1234, 0.5 and 1/2, (C) and C, 1 +- 2 and -1, 3."""

import random
import re
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

from graded_pairs.latex_value import Unreadable, value
from graded_pairs.shapes import Answer, render

UNITS = (
    r" cm",
    r"\text{ cm}",
    r"\,\text{cm}",
    r" \mathrm{~m}",
    r"\text{ inches}",
    r" \text{ square units}",
    r"\text{ cm}^2",
    r" \text{ m/s}",
    " km",
    " minutes",
    r"\text{ hours}",
    " dollars",
    r" \text{ units}",
    " meters",
    r"\mathrm{~kg}",
    " days",
)


def forms(answer: Answer, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Forms that a shape has besides its plain one."""
    parts = answer.parts
    shape = answer.shape
    if shape == "integer":
        yield from _integer_forms(parts[0], rng)
    elif shape == "decimal":
        yield "trailing_zero", parts[0] + "0"
        yield (
            "leading_zero",
            parts[0][1:]
            if parts[0].startswith("0.")
            else parts[0].replace(".", "0.", 1)
            if parts[0][0] == "."
            else parts[0],
        )
        exact = Fraction(parts[0])
        if exact.denominator <= 1000:
            yield "decimal_to_fraction", rng.choice([r"\frac{%d}{%d}", "%d/%d"]) % (exact.numerator, exact.denominator)
    elif shape == "scientific":
        mantissa, exponent = parts
        yield "scientific_e", rng.choice([f"{mantissa}e{exponent}", f"{mantissa}E{int(exponent):+03d}"])
        yield (
            "scientific_style",
            rng.choice(
                [
                    rf"{mantissa} \cdot 10^{{{exponent}}}",
                    rf"{mantissa}\times10^{{{exponent}}}",
                    rf"{mantissa} \times 10^{{{exponent}}}",
                ]
            ),
        )
        plain = Fraction(mantissa) * Fraction(10) ** int(exponent)
        if plain.denominator == 1 and plain < 10**13:
            yield "scientific_plain", rng.choice([str(plain), f"{int(plain):,}"])
        elif 10**-7 < plain < 1:
            digits = len(mantissa.partition(".")[2]) - int(exponent)
            yield "scientific_plain", f"{float(plain):.{digits}f}"
    elif shape == "fraction":
        yield from _fraction_forms(*parts, rng)
    elif shape == "expression":
        if m := re.fullmatch(r"(\d*) ?\\sqrt\{?(\d+)\}?", parts[0]):
            yield (
                "plain_text",
                rng.choice([f"{m[1]}*sqrt({m[2]})", f"{m[1]}sqrt({m[2]})", f"{m[1]}√{m[2]}"])
                if m[1]
                else f"sqrt({m[2]})",
            )
        elif m := re.fullmatch(r"(\d+) ?\\pi", parts[0]):
            yield "plain_text", rng.choice([f"{m[1]}*pi", f"{m[1]}π", f"{m[1]} pi"])
        elif (
            re.fullmatch(r"[\w +*/().-]*\^?\{?[\w +*/().-]*\}?", parts[0])
            and "^" in parts[0]
            and (plain := parts[0].replace("{", "(").replace("}", ")"))
        ):
            yield "plain_text", plain
    elif shape == "mixed":
        whole, above, below = map(int, parts)
        total = (abs(whole) * below + above) * (-1 if whole < 0 else 1)
        yield "mixed_as_fraction", rng.choice([rf"\frac{{{total}}}{{{below}}}", f"{total}/{below}"])
        yield (
            "mixed_style",
            rng.choice(
                [
                    f"{whole} {above}/{below}",
                    rf"{whole} \dfrac{{{above}}}{{{below}}}",
                    rf"{whole}\,\frac{{{above}}}{{{below}}}",
                ]
            ),
        )
    elif shape == "degrees":
        yield (
            "degrees_style",
            rng.choice(
                [f"{parts[0]}^{{\\circ}}", f"{parts[0]} degrees", f"{parts[0]}°", rf"{parts[0]}\text{{ degrees}}"]
            ),
        )
        yield "unit_omitted", parts[0]
    elif shape == "percent":
        yield "percent_style", rng.choice([rf"{parts[0]}\%", f"{parts[0]}%", rf"{parts[0]}\ \%", f"{parts[0]} percent"])
        yield "unit_omitted", parts[0]
    elif shape == "money":
        whole, dot, cents = parts[0].partition(".")
        yield (
            "money_style",
            rng.choice(
                [
                    rf"\${parts[0]}",
                    f"${parts[0]}",
                    f"{parts[0]} dollars",
                    rf"\text{{\${parts[0]}}}",
                    rf"\${int(whole):,}{dot}{cents}",
                ]
            ),
        )
        yield "unit_omitted", parts[0]
    elif shape == "unit":
        name, square = answer.after.removesuffix("^2"), "^2" if answer.after.endswith("^2") else ""
        yield (
            "unit_style",
            parts[0]
            + rng.choice(
                [
                    rf"\text{{ {name}}}{square}",
                    rf"\, \mathrm{{{name}}}{square}",
                    rf"\ \text{{{name}}}{square}",
                    rf" \mathrm{{~{name}}}{square}",
                ]
            ),
        )
        yield "unit_omitted", parts[0]
    elif shape == "ratio":
        yield (
            "ratio_style",
            rng.choice([f"{parts[0]} : {parts[1]}", rf"{parts[0]}\!:\!{parts[1]}", f"{parts[0]}:{parts[1]}"]),
        )
    elif shape == "based":
        yield "base_style", f"{parts[0]}_{answer.after}" if len(answer.after) == 1 else render(answer)
        yield "base_style", rf"{parts[0]}_{{{answer.after}}}"
    elif shape == "choice":
        letter = parts[0]
        yield (
            "choice_style",
            rng.choice(
                [
                    letter,
                    f"({letter})",
                    rf"\textbf{{({letter})}}",
                    rf"\text{{({letter})}}",
                    rf"\text{{{letter}}}",
                    rf"\textbf{{{letter}}}",
                    f"{letter}.",
                    f"{letter})",
                    rf"\mathrm{{({letter})}}",
                ]
            ),
        )
    elif shape == "text":
        word = parts[0]
        yield (
            "text_style",
            rng.choice(
                [
                    word,
                    word.lower(),
                    word.upper(),
                    rf"\text{{{word.lower()}}}",
                    rf"\text{{ {word} }}",
                    rf"\mathrm{{{word}}}",
                    rf"\textbf{{{word}}}",
                    rf"\text{{{word.capitalize()}}}",
                    word.lower() + ".",
                ]
            ),
        )
    elif shape in ("list", "set"):
        ordered = _sorted(parts)
        mixed = rng.sample(parts, len(parts))
        if shape == "set" or ordered:
            yield "order", render(answer._replace(parts=tuple(mixed)))
            yield "order", render(answer._replace(parts=parts[::-1]))
        joined = [rf"{', '.join(parts[:-1])} \text{{ {word} }} {parts[-1]}" for word in ("and", "or")]
        plain = f"{', '.join(parts[:-1])} and {parts[-1]}"
        if shape == "list":
            yield "list_words", rng.choice([*joined, plain])
        if ordered and shape == "list":
            yield "list_named", ", ".join(f"x = {part}" for part in parts)
        if ordered:
            yield (
                "list_as_set" if shape == "list" else "set_as_list",
                (r"\{%s\}" if shape == "list" else "%s") % ", ".join(parts),
            )
    elif shape == "tuples":
        yield "order", ", ".join(rng.sample(parts, len(parts)))
        yield "order", ",".join(parts[::-1])
        yield "list_words", rf"{', '.join(parts[:-1])} \text{{ and }} {parts[-1]}"
    elif shape == "interval":
        yield "interval_named", rf"x \in {render(answer)}"
        if "\\infty" in render(answer):
            yield "infinity_style", re.sub(r"(?<![-+])\\infty", r"+\\infty", render(answer))
    elif shape == "union":
        text = render(answer)
        yield "union_order", r" \cup ".join(text.split(r" \cup ")[::-1])
        yield "union_style", text.replace(r" \cup ", r"\cup")
        yield "interval_named", rf"x \in {text}"
    elif shape == "matrix":
        yield "matrix_style", render(answer).replace("pmatrix", "bmatrix")
        yield "matrix_style", render(answer).replace(" ", "") if "\\frac" not in render(answer) else render(answer)
    elif shape == "equation":
        yield "name_dropped", parts[0]
        yield "equation_spaces", rng.choice([f"{answer.before}={parts[0]}", f"{answer.before} = {parts[0]}"])
    elif shape == "inequality":
        long = {r"\ge": r"\geq", r"\le": r"\leq"}.get(answer.after, answer.after)
        yield "relation_style", f"{answer.before} {long} {parts[0]}"
        yield "relation_style", f"{answer.before}{long} {parts[0]}"
    elif shape == "plus_minus":
        yield (
            "plus_minus_as_list",
            rng.choice(
                [
                    rf"{parts[0]} + {parts[1]}, {parts[0]} - {parts[1]}",
                    rf"{parts[0]} - {parts[1]} \text{{ and }} {parts[0]} + {parts[1]}",
                ]
            ),
        )
        yield "plus_minus_style", rf"{parts[0]}\pm{parts[1]}"


def _integer_forms(digits: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    n = int(digits)
    if abs(n) >= 1000:
        grouped = f"{n:,}"
        yield (
            "thousands",
            rng.choice(
                [grouped, grouped.replace(",", "{,}"), grouped.replace(",", r",\!"), grouped.replace(",", r"\,")]
            ),
        )
    yield "trailing_zero", digits + rng.choice([".0", ".00", "."])
    if n > 0:
        yield "leading_plus", "+" + digits
        yield "leading_zero", rng.choice(["0", "00"]) + digits
        yield "unit_added", digits + rng.choice(UNITS)
        yield "money_added", rng.choice([rf"\${digits}", f"${digits}", rf"\${digits}.00"])
    if 0 < n < 360:
        yield (
            "degrees_added",
            rng.choice([rf"{digits}^\circ", rf"{digits}^{{\circ}}", f"{digits} degrees", f"{digits}°"]),
        )
    if 0 < n <= 100:
        yield "percent_added", rf"{digits}\%"
    yield "text_wrapped", rf"\text{{{digits}}}"


def _fraction_forms(above: str, below: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    a, b = int(above), int(below)
    sign = "-" if a < 0 else ""
    yield "inline_fraction", rng.choice([f"{a}/{b}", f"{a} / {b}"])
    yield (
        "frac_style",
        rng.choice(
            [
                rf"{sign}\dfrac{{{abs(a)}}}{{{b}}}",
                rf"{sign}\tfrac{{{abs(a)}}}{{{b}}}",
                rf"{sign}\cfrac{{{abs(a)}}}{{{b}}}",
            ]
        ),
    )
    yield "frac_braces", rf"{sign}\frac{abs(a)}{b}" if abs(a) < 10 and b < 10 else rf"{sign}\frac{{{abs(a)}}}{{{b}}}"
    if a < 0:
        yield "sign_place", rng.choice([rf"\frac{{{a}}}{{{b}}}", rf"\frac{{{-a}}}{{-{b}}}"])
    elif a > b > 1 and a % b:
        yield (
            "fraction_as_mixed",
            rng.choice([r"%d\frac{%d}{%d}", r"%d \frac{%d}{%d}", "%d %d/%d"]) % (a // b, a % b, b),
        )
    if (exact := terminating(a, b)) is not None:
        yield (
            "decimal",
            rng.choice(
                [exact, exact + "0", exact.replace("0.", ".", 1) if exact.lstrip("-").startswith("0.") else exact]
            ),
        )


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
