"""Decides whether a countdown problem has a solution that uses each number once with + - * /."""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import combinations

MOST_NUMBERS = 6
"""A search over seven takes minutes in the worst case."""


def is_solvable(numbers: Sequence[int] | Sequence[Fraction], target: int) -> bool:
    """Search exactly, over all expressions. Raises ValueError for more than MOST_NUMBERS numbers."""
    if len(numbers) > MOST_NUMBERS:
        raise ValueError(f"a problem has {len(numbers)} numbers, allowed are up to {MOST_NUMBERS}")
    return _reaches(tuple(sorted(map(Fraction, numbers))), Fraction(target))


def _reaches(numbers: tuple[Fraction, ...], target: Fraction) -> bool:
    """Whether one last operation gives the target. It joins a value of at most half of the numbers to a value of the others."""
    if len(numbers) <= 3:
        return target in _values(numbers)
    for part, others in _splits(numbers):
        for value in _values(part):
            # 0 times whatever the others make is 0.
            if value == target == 0 or any(_reaches(others, wanted) for wanted in _partners(value, target)):
                return True
    return False


@lru_cache(maxsize=4096)
def _values(numbers: tuple[Fraction, ...]) -> frozenset[Fraction]:
    """All values of up to three numbers."""
    if len(numbers) == 1:
        return frozenset(numbers)
    values = set()
    for part, others in _splits(numbers):
        for a in _values(part):
            for b in _values(others):
                values |= {a + b, a - b, b - a, a * b}
                values |= {a / b} if b else set()
                values |= {b / a} if a else set()
    return frozenset(values)


def _splits(numbers: tuple[Fraction, ...]) -> list[tuple[tuple[Fraction, ...], tuple[Fraction, ...]]]:
    """(some of the numbers, at most half of them; the others)."""
    positions = range(len(numbers))
    return [
        (tuple(numbers[i] for i in chosen), tuple(numbers[i] for i in positions if i not in chosen))
        for size in range(1, len(numbers) // 2 + 1)
        for chosen in combinations(positions, size)
    ]


def _partners(value: Fraction, target: Fraction) -> set[Fraction]:
    """All b with value + b, value - b, b - value, value * b, value / b or b / value equal to the target."""
    partners = {target - value, value - target, target + value}
    if value:
        partners |= {target * value, target / value}
        partners |= {value / target} if target else set()
    return partners
