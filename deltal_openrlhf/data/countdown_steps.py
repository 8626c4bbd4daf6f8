"""Works a countdown problem out, one operation a line, for examples in prompts."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import permutations

from deltal_openrlhf.data.solvable import is_solvable

Term = tuple[Fraction, str]
"""A value and the expression that makes it."""


def steps(numbers: Sequence[int], target: int) -> tuple[list[str], str]:
    """(["3 * 4 = 12", "12 - 2 = 10"], "(3 * 4) - 2"): the operations in their order, and the whole expression.

    Whole results come first, then small ones. Raises ValueError for a problem without a solution and for one that is_solvable refuses.
    """
    if not is_solvable(numbers, target):
        raise ValueError(f"{target} cannot be made of {', '.join(map(str, numbers))}")
    terms: list[Term] = [(Fraction(number), str(number)) for number in numbers]
    lines = []
    while len(terms) > 1:
        line, terms = next(
            (line, rest) for line, rest in _next(terms) if is_solvable([value for value, _ in rest], target)
        )
        lines.append(line)
    expression = terms[0][1]
    return lines, expression[1:-1] if lines else expression


def _next(terms: list[Term]) -> Iterator[tuple[str, list[Term]]]:
    """All ways to join two terms: the line that says so, and the terms after it."""
    ways = []
    for i, j in permutations(range(len(terms)), 2):
        (a, left), (b, right) = terms[i], terms[j]
        others = [term for k, term in enumerate(terms) if k not in (i, j)]
        results = [("-", a - b)] + ([("+", a + b), ("*", a * b)] if i < j else []) + ([("/", a / b)] if b else [])
        for sign, value in results:
            line = f"{a} {sign} {f'({b})' if b < 0 or b.denominator > 1 else b} = {value}"
            ways.append((value, line, [*others, (value, f"({left} {sign} {right})")]))
    ways.sort(key=lambda way: (way[0].denominator > 1, way[0] < 0, abs(way[0])))
    for _, line, rest in ways:
        yield line, rest
