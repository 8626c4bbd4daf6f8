"""The only tolerance there is: a decimal that stands for a number which has no finite one.

0.3333333 is 1/3, and 1.414214 and 1.414213 are the root of 2: six places and six digits or more, rounded or cut off. 0.333334 is not
1/3, 0.999999999 is not 1, and 0.500001 is not 1/2, which a finite decimal says exactly.
"""

from fractions import Fraction

_FEWEST_PLACES = 6


def is_decimal_of(decimal: Fraction, places: int, value: Fraction, is_exact: bool) -> bool:
    """Whether a decimal with so many places stands for a value; is_exact: the value is that number, not one close to it."""
    scale = 10**places
    if places < _FEWEST_PLACES or abs(decimal) * scale < 10 ** (_FEWEST_PLACES - 1):
        return False
    if is_exact and _is_finite(value):
        return decimal == value
    size = abs(value) * scale
    return decimal * value > 0 and abs(decimal) * scale in (size.__floor__(), (size + Fraction(1, 2)).__floor__())


def _is_finite(value: Fraction) -> bool:
    """Whether 2 and 5 are the only primes in the denominator."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1
