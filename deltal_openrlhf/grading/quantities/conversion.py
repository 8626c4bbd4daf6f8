"""Sizes of units, by pint: exact, as fractions. Only names that unit_names.py knows reach it, never the text of an answer."""

from fractions import Fraction
from functools import cache, lru_cache
from typing import Any, NamedTuple

Powers = tuple[tuple[str, int], ...]
"""(pint's name of a unit, its exponent), sorted by name: m/s is (("meter", 1), ("second", -1))."""

_OWN = {"cent": (Fraction(1, 100), "dollar")}
"""Units that pint has not, by one that it has not either."""
_OFFSET = {"degree_Celsius", "degree_Fahrenheit"}
_MAX_DENOMINATOR = 10**9


class Size(NamedTuple):
    r"""One of a unit is factor * \pi^pi of its roots. A temperature's zero lies at `zero` kelvin."""

    factor: Fraction
    pi: int
    roots: Powers
    zero: Fraction = Fraction(0)


@cache
def registry() -> Any:
    import pint  # a third of a second: only where an answer has a unit

    return pint.UnitRegistry(non_int_type=Fraction)


@lru_cache(maxsize=1024)
def size(powers: Powers) -> Size:
    factor, pi, roots = Fraction(1), 0, dict[str, int]()
    for name, exponent in powers:
        one = _size_of(name)
        factor *= one.factor**exponent
        pi += one.pi * exponent
        for root, power in one.roots:
            roots[root] = roots.get(root, 0) + power * exponent
    lone = len(powers) == 1 and powers[0][1] == 1
    zero = registry().convert(Fraction(0), powers[0][0], "kelvin") if lone and powers[0][0] in _OFFSET else Fraction(0)
    return Size(factor, pi, tuple(sorted((root, power) for root, power in roots.items() if power)), zero)


@lru_cache(maxsize=1024)
def _size_of(name: str) -> Size:
    if name in _OWN:
        factor, root = _OWN[name]
        return Size(factor, 0, ((root, 1),))
    if not registry().parse_unit_name(name, case_sensitive=True):
        return Size(Fraction(1), 0, ((name, 1),))  # a currency, a counted noun
    factor, unit = registry().get_root_units(name)
    factor = Fraction(factor)
    roots = tuple((root, int(power)) for root, power in unit._units.items())
    if not roots:
        return Size(Fraction(1), 0, ((name, 1),))  # decibels
    # The registry's \pi is a fraction of fifty digits: what becomes simple without it holds it.
    without_pi = factor / registry().get_root_units("pi")[0]
    if factor.denominator > _MAX_DENOMINATOR >= without_pi.denominator:
        return Size(without_pi, 1, roots)
    return Size(factor, 0, roots)


def convert(value: str, unit: Powers, into: Powers) -> str | None:
    """LaTeX of `value` of a unit in another one; None where that measures something else."""
    if unit == into:
        return value
    a, b = size(unit), size(into)
    if a.roots != b.roots:
        return None
    factor, pi = a.factor / b.factor, a.pi - b.pi
    converted = f"({value})" if factor == 1 else rf"({value})*{_latex(factor)}"
    if pi:
        converted += rf"*\pi^{{{pi}}}"
    shift = (a.zero - b.zero) / b.factor
    return f"{converted}+{_latex(shift)}" if shift else converted


def _latex(number: Fraction) -> str:
    return (
        f"({number.numerator})" if number.denominator == 1 else rf"\frac{{{number.numerator}}}{{{number.denominator}}}"
    )
