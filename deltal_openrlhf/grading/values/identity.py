r"""Whether two expressions are one rational function of their variables, by their values modulo a large random prime.

What is not rational (roots, logarithms, \sin x, \pi, x^n, floors) counts as a variable of its own, the same one wherever the same
function has arguments that are the same rational function. So "equal" is a proof but for chance; "different" is one only where
everything is rational.

The chance: let s be the size of an expression: its degree plus the bits of its coefficients, at most 2^45 here. Two different
rational functions of size s have the same value at a random point modulo a random prime of 89 bits with a probability below
s/2^88 (Schwartz and Zippel: a polynomial of degree s has at most that share of roots) + s/2^82 (the prime divides all coefficients
of the difference: there are 2^82 primes, and fewer than s of them do). That is below 2^-65 for what people write and never above
2^-36. Prime and point are drawn anew for each pair: no answer can be written to meet them.
"""

import math
import random
from fractions import Fraction

from deltal_openrlhf.grading.values.evaluation import Node

_PRIME_BITS = 89
_MAX_SIZE = 2**45
_MAX_FACTORIAL = 10_000
_REDRAWS = 3
_SMALL_PRIMES = math.prod(n for n in range(3, 400) if all(n % d for d in range(2, n)))

_EVEN = {"abs", "cos", "sec", "cosh", "sech"}
_ODD = {"sin", "tan", "csc", "cot", "sinh", "tanh", "coth", "csch", "arcsin", "arctan", "arsinh", "artanh"}
_ANY_ORDER = {"gcd", "lcm", "max", "min"}


def same_function(a: Node, b: Node, draw: random.Random) -> bool | None:
    """True where a - b vanishes as a rational function, False where it does not and all is rational; None where this cannot tell."""
    for _ in range(_REDRAWS):
        point = _Point(_prime(draw), draw)
        try:
            if point.value(a) == point.value(b):
                return True if max(_size(a), _size(b)) <= _MAX_SIZE else None
            return None if point.others else False
        except ValueError:  # a denominator that vanishes here, or everywhere
            continue
    return None


class _Point:
    """Values modulo a prime, with random ones for the variables and for what is not rational."""

    def __init__(self, prime: int, draw: random.Random) -> None:
        self.prime, self.draw = prime, draw
        self.variables: dict[str, int] = {}
        self.others: dict[tuple, int] = {}
        self.factorials: dict[int, int] = {}

    def value(self, node: Node) -> int:
        """Raises ValueError where a denominator is 0."""
        p = self.prime
        if isinstance(node, Fraction):
            return node.numerator * pow(node.denominator, -1, p) % p
        if isinstance(node, str):
            return self._other(node)
        operation, *parts = node
        if operation == "var":
            return self.variables.setdefault(parts[0], self.draw.randrange(1, p))
        if operation == "power" and isinstance(parts[1], Fraction) and parts[1].denominator == 1:
            return pow(self.value(parts[0]), parts[1].numerator, p)
        if operation == "factorial" and isinstance(parts[0], Fraction) and 0 <= parts[0] <= _MAX_FACTORIAL:
            return self._factorial(parts[0].numerator)
        values = [self.value(part) for part in parts]
        if operation == "plus":
            return (values[0] + values[1]) % p
        if operation == "times":
            return values[0] * values[1] % p
        if operation in ("over", "frac"):
            return values[0] * pow(values[1], -1, p) % p
        if operation == "minus":
            return -values[0] % p
        if operation == "sqrt":
            return self._other("power", values[0], pow(2, -1, p))
        if operation == "root":
            return self._other("power", values[1], pow(values[0], -1, p))
        if operation in _ANY_ORDER:
            return self._other(operation, *sorted(set(values)))
        if operation in _EVEN or operation in _ODD:
            positive = min(values[0], p - values[0])
            value = self._other(operation, positive)
            return p - value if operation in _ODD and positive != values[0] else value
        return self._other(operation, *values)

    def _other(self, *key: str | int) -> int:
        return self.others.setdefault(key, self.draw.randrange(1, self.prime))

    def _factorial(self, n: int) -> int:
        if n not in self.factorials:
            product = 1
            for factor in range(2, n + 1):
                product = product * factor % self.prime
            self.factorials[n] = product
        return self.factorials[n]


def _size(node: Node) -> int:
    if isinstance(node, Fraction):
        return node.numerator.bit_length() + node.denominator.bit_length()
    if isinstance(node, str) or node[0] == "var":
        return 1
    if node[0] == "power" and isinstance(node[2], Fraction):
        return _size(node[1]) * (abs(node[2].numerator) + node[2].denominator)
    if node[0] == "factorial":
        return _size(node[1]) + 20 * _MAX_FACTORIAL
    return 1 + sum(map(_size, node[1:]))


def _prime(draw: random.Random) -> int:
    while True:
        candidate = draw.getrandbits(_PRIME_BITS) | 1 | 1 << _PRIME_BITS - 1
        # Numbers that fool Fermat's test are so rare that no random one of this size is known.
        if math.gcd(candidate, _SMALL_PRIMES) == 1 and pow(2, candidate - 1, candidate) == 1:
            return candidate
