"""Arithmetic that is exact as long as everything is rational, else binary floating point of any precision.

The sizes of numbers, powers and roots are bounded, so that nothing takes long.
"""

import math
import threading
from fractions import Fraction
from typing import Any, NoReturn

from mpmath.ctx_mp import MPContext

Value = Any
"""A Fraction, or an mpf or mpc of mpmath, which has no types."""

MAX_BITS = 20_000
"""Of exact numbers, and of the exponents of others."""
_MAX_DEGREE = 100
"""Of roots."""
GUARD = 50
"""Bits that a few hundred operations may lose."""


class Undecided(Exception):
    """This text is not for the cheap path, or a number is out of its bounds."""


class Undefined(Exception):
    """There is no value: a division by zero, a pole, a factorial of -1."""


class OutsideDomain(Undefined):
    """The root or logarithm of a negative number, where only real numbers count."""


class _Thread(threading.local):
    """mpmath keeps its precision in a context: each thread has its own."""

    def __init__(self) -> None:
        self.context = MPContext()
        # What mpmath remembers of its constants is shared by all threads: it must not change later.
        self.context.prec = 2 * MAX_BITS
        self.constants = [+self.context.pi, +self.context.e, +self.context.ln2, +self.context.ln10]


_thread = _Thread()


class Arithmetic:
    """Operations with `bits` of precision.

    real: roots and logarithms of negative numbers are OutsideDomain; else they are complex, the principal ones. The odd root of a
    negative real number is the real one. 0^0 is 1. `low` and `high`: the smallest and largest binary exponent of all that occurred;
    `is_exact`: whether every Fraction is exact, and not what was left of rounded numbers.
    """

    def __init__(self, bits: int, real: bool) -> None:
        self.bits, self.real = bits, real
        self.low, self.high = 0, 1
        self.is_exact = True
        self.context = _thread.context
        if self.context.prec != bits:
            self.context.prec = bits

    @property
    def noise(self) -> Value:
        """What is below it, of a difference of two values, is rounding."""
        return self.context.ldexp(1, self.high - self.bits + GUARD)

    def see(self, size: int) -> None:
        """Take note of a binary exponent."""
        self.low, self.high = min(self.low, size), max(self.high, size)

    def seen(self, x: Value) -> Value:
        """A result that is within bounds. Raises Undefined, OutsideDomain or Undecided."""
        if type(x) is Fraction:
            over, under = x.numerator.bit_length(), x.denominator.bit_length()
            if over + under > MAX_BITS:
                raise Undecided
            if over:
                self.see(over - under)
            return x
        if isinstance(x, self.context.mpc):
            if self.real:
                raise OutsideDomain
            x = self._without_noise(x)
        if not x:
            return Fraction(0)
        if not self.context.isfinite(x):
            raise Undefined
        size = self.size(x)
        if abs(size) > MAX_BITS:
            raise Undecided
        self.see(size)
        return x

    def _without_noise(self, x: Value) -> Value:
        """A part that is nothing but rounding would choose a side of a branch cut."""
        size = self.size(x) - self.bits + GUARD
        if not x.imag or self.context.mag(x.imag) < size:
            return x.real
        return x if x.real and self.context.mag(x.real) >= size else self.context.mpc(0, x.imag)

    def size(self, x: Value) -> int:
        """The binary exponent, or about that."""
        if not x:
            return -MAX_BITS
        return x.numerator.bit_length() - x.denominator.bit_length() if type(x) is Fraction else self.context.mag(x)

    def inexact(self, x: Value) -> Value:
        return self.context.mpf(x.numerator) / x.denominator if type(x) is Fraction else x

    def zero_below(self, x: Value, size: int) -> Value:
        """0 for what is left where numbers of this size cancel out."""
        if self.size(x) >= size - self.bits + GUARD:
            return x
        self.is_exact = False
        return Fraction(0)

    def as_real(self, x: Value) -> Value:
        """Raises Undefined for a complex number, which nothing is above or below."""
        return x if not isinstance(x, self.context.mpc) else no_value()

    def plus(self, a: Value, b: Value) -> Value:
        if type(a) is Fraction and type(b) is Fraction:
            return a + b
        a, b = self.inexact(a), self.inexact(b)
        return self.zero_below(a + b, max(self.size(a), self.size(b)))

    def times(self, a: Value, b: Value) -> Value:
        if type(a) is Fraction and type(b) is Fraction:
            return a * b
        return self.inexact(a) * self.inexact(b)

    def over(self, a: Value, b: Value) -> Value:
        if type(a) is Fraction and type(b) is Fraction:
            return a / b
        return self.inexact(a) / self.inexact(b)

    def power(self, base: Value, exponent: Value) -> Value:
        if type(exponent) is Fraction:
            n = exponent.numerator
            if exponent.denominator == 1:
                return self._whole_power(base, n)
            if exponent.denominator <= _MAX_DEGREE and not isinstance(base, self.context.mpc):
                return self._whole_power(self.root(Fraction(exponent.denominator), base), n)
        if not base:
            return no_value() if self.as_real(exponent) <= 0 else Fraction(0)
        base, exponent = self.inexact(base), self.inexact(exponent)
        if self.size(exponent) > 40 or abs(exponent) * max(1, abs(self.size(base))) > MAX_BITS:
            raise Undecided
        return self.context.power(base, exponent)

    def _whole_power(self, base: Value, n: int) -> Value:
        if type(base) is Fraction:
            if abs(n) * (base.numerator.bit_length() + base.denominator.bit_length()) <= MAX_BITS:
                return base**n
            base = self.inexact(base)
        if abs(n) * max(1, abs(self.size(base))) > MAX_BITS:
            raise Undecided
        return base**n

    def root(self, degree: Value, x: Value) -> Value:
        if not (type(degree) is Fraction and degree.denominator == 1 and 1 <= degree <= _MAX_DEGREE):
            raise Undecided
        n = degree.numerator
        if not isinstance(x, self.context.mpc) and x < 0 and n % 2:
            return -self.root(degree, -x)
        if type(x) is Fraction and x >= 0:
            over, under = _exact_root(x.numerator, n), _exact_root(x.denominator, n)
            if over is not None and under is not None:
                return Fraction(over, under)
        return self.context.root(self.inexact(x), n) if n > 2 else self.context.sqrt(self.inexact(x))

    def ln(self, x: Value) -> Value:
        if not x:
            raise Undefined
        return Fraction(0) if x == 1 else self.zero_below(self.context.ln(self.inexact(x)), 0)


def _exact_root(value: int, n: int) -> int | None:
    if n == 2:
        root = math.isqrt(value)
    elif value.bit_length() <= 1000:
        root = round(value ** (1 / n))
    else:
        return None
    return root if root**n == value else None


def no_value() -> NoReturn:
    raise Undefined
