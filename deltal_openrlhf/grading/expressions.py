r"""Reads short expressions: a grammar of our own, for the cheap comparison of two answers.

Integers, decimals, + - * / ^ !, brackets, \frac, \sqrt, \binom, \pi, e, i, |x|, floor and ceiling, the elementary functions, letters
as variables, products without a sign. Whatever else there is, and whatever can be read in two ways (1/2x), is Undecided. The size of
the text and the depth of its brackets are bounded.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import TypeVar

from deltal_openrlhf.grading.arithmetic import FUNCTIONS, ROUNDING, Node, Undecided, Value, evaluate, log_size
from deltal_openrlhf.grading.tokens import GREEK, tokens_of

T = TypeVar("T")

UNKNOWN_BASE = r"\log"
"""The base of a bare log, which is 10 or e: a variable."""
_MAX_DEPTH = 40

_FUNCTION_LETTERS = set("fghFG")
_CLOSING = {r"\lfloor": r"\rfloor", r"\lceil": r"\rceil"}


class Malformed(Undecided):
    """It ends in the middle of an expression: \\frac{3}, 2+."""


class Expression:
    """A parsed expression. `variables`: their names; `decimals`: digits behind the decimal point if it is a bare decimal number."""

    def __init__(self, text: str) -> None:
        self.tokens = tokens_of(text)
        self.position = 0
        self.depth = 0
        self.variables: set[str] = set()
        self.is_rounded = False
        self.has_branches = False
        self.has_extremes = False
        self.tree = self._sum()
        if self.position != len(self.tokens):
            raise Undecided
        bare = re.fullmatch(r"[-+]?\s*\d*\.(\d+)", text)
        self.decimals = len(bare[1]) if bare else None
        self.is_plain = bool(re.fullmatch(r"[-+]?\s*(?:\d+\.?\d*|\.\d+)", text))

    def at(self, values: dict[str, Fraction]) -> Value:
        """Its value with these values of its variables. Raises Undecided where there is none in range."""
        return self._with(evaluate, values)

    def log_size_at(self, values: dict[str, Fraction]) -> float:
        """ln of its absolute value, also where that is out of range."""
        return self._with(log_size, values)

    def _with(self, function: Callable[[Node, dict[str, Fraction]], T], values: dict[str, Fraction]) -> T:
        try:
            return function(self.tree, values)
        except (ArithmeticError, ValueError) as error:
            raise Undecided from error

    # Recursive descent. A node is (operation, operands...), a Fraction, or the name of a variable or constant.

    def _peek(self) -> str | None:
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def _take(self, wanted: str | None = None) -> str:
        token = self._peek()
        if token is None:
            raise Malformed
        if wanted is not None and token != wanted:
            raise Undecided
        self.position += 1
        return token

    def _sum(self) -> Node:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise Undecided
        node = None
        while True:
            token = self._peek()
            negative = False
            if token in ("+", "-"):
                self._take()
                negative = token == "-"
            elif node is not None:
                break
            term = self._product()
            term = ("neg", term) if negative else term
            node = term if node is None else ("+", node, term)
        self.depth -= 1
        return node

    def _product(self) -> Node:
        node = self._implicit()
        divided = False
        while self._peek() in ("*", "/"):
            sign = self._take()
            start = self.position
            right = self._signed_implicit()
            # a/bc may mean a/(bc) or (a/b)c; 1/2x too.
            if sign == "/" and self._factors > 1 and self.tokens[start : start + 1] != ["("]:
                raise Undecided
            if divided and sign == "/":
                raise Undecided
            divided = divided or sign == "/"
            node = (sign, node, right)
        return node

    def _signed_implicit(self) -> Node:
        if self._peek() == "-":
            self._take()
            return "neg", self._implicit()
        return self._implicit()

    def _implicit(self) -> Node:
        """Factors without a sign between them. A whole number before a fraction of numbers is a mixed number: 2\\frac{1}{3} = 7/3."""
        node = self._power()
        factors = 1
        while self._starts_factor(self._peek()):
            bare = (self._peek() or "")[0] in ".0123456789"
            right = self._power()
            if bare and isinstance(right, Fraction) and isinstance(node, Fraction):
                raise Malformed  # "2 3"
            part = _fraction_of_integers(right)
            if part is not None and isinstance(node, Fraction) and factors == 1:
                if node.denominator != 1 or not 0 < part < 1:
                    raise Undecided
                node = node + part
            else:
                node = ("*", node, right)
            factors += 1
        self._factors = factors
        return node

    def _starts_factor(self, token: str | None) -> bool:
        if token is None:
            return False
        if token == "|":
            return not self._in_bars
        if token in _CLOSING.values():
            return False
        return token[0] == "\\" or token in ("(", "{") or token[0].isalnum() or token[0] == "."

    _in_bars = False
    _factors = 1

    def _power(self) -> Node:
        base = self._atom()
        while self._peek() == "!":
            self._take()
            base = ("!", base)
        if self._peek() in ("^", "**"):
            self._take()
            base = ("^", base, self._exponent())
            self.has_extremes = self.has_extremes or not _is_small(base[2], 12)
            self.has_branches = self.has_branches or isinstance(base[2], tuple) and base[2][0] in ("/", "frac")
            if self._peek() in ("^", "**", "!"):
                raise Undecided
        return base

    def _exponent(self) -> Node:
        if self._peek() == "{":
            return self._braced()
        if self._peek() == "-":
            self._take()
            return "neg", self._atom()
        return self._atom()

    def _braced(self) -> Node:
        self._take("{")
        node = self._sum()
        self._take("}")
        return node

    def _argument(self, whole_number: bool = False) -> Node:
        r"""The argument of \frac, \sqrt, \binom: {...}, or one digit or letter: \frac12. \sqrt10 means the root of 10."""
        if self._peek() == "{":
            return self._braced()
        token = self._take()
        if token.isdigit() and not whole_number:
            if len(token) > 1:
                self.tokens[self.position - 1 : self.position] = [token[0], token[1:]]
                self.position -= 1
                self._take()
            return Fraction(token[0])
        self.position -= 1
        return self._atom()

    def _atom(self) -> Node:
        token = self._take()
        if token[0].isdigit() or token[0] == ".":
            if self._peek() == "_":
                raise Undecided  # a number in another base
            number = Fraction(token)
            self.has_extremes = self.has_extremes or number > 10**6 or len(token) > 12
            return number
        if token in ("(", "["):
            node = self._sum()
            self._take({"(": ")", "[": "]"}[token])
            return node
        if token == "{":
            self.position -= 1
            return self._braced()
        if token == "|":
            if self._in_bars:
                raise Undecided
            self.has_branches = self._in_bars = True
            node = self._sum()
            self._in_bars = False
            self._take("|")
            return "abs", node
        if token in ROUNDING:
            self.is_rounded = True
            node = self._sum()
            self._take(_CLOSING[token])
            return token, node
        name = token.lstrip("\\")
        if token == r"\frac":
            over = self._argument()
            under = self._argument()
            return "frac", over, under
        if token == r"\binom":
            return "binom", self._argument(), self._argument()
        if name == "sqrt":
            self.has_branches = True
            if self._peek() == "[":
                self._take()
                root = self._sum()
                self._take("]")
                return "root", root, self._argument(whole_number=True)
            return "sqrt", self._argument(whole_number=True)
        if name == "log" or name in FUNCTIONS:
            return self._function(name)
        if name == "pi":
            return "pi"
        if token[0] == "\\" and name not in GREEK:
            raise Undecided
        return self._variable(name)

    def _function(self, name: str) -> Node:
        base = None
        if name == "log" and self._peek() == "_":
            self._take()
            base = self._argument()
        power = None
        if self._peek() == "^":
            self._take()
            power = self._exponent()
            if power == ("neg", Fraction(1)):
                raise Undecided  # an inverse function or a reciprocal
        if self._peek() in ("(", "{", "["):
            argument = self._atom()
        else:
            argument = self._power()
            # sin 2x, sin x cos y: where the argument ends is convention.
            if self._starts_factor(self._peek()):
                raise Undecided
        if name == "log" and base is None:
            self.variables.add(UNKNOWN_BASE)
            base = ("var", UNKNOWN_BASE)
        node = ("log", base, argument) if name == "log" else ("call", name, argument)
        return node if power is None else ("^", node, power)

    def _variable(self, name: str) -> Node:
        if self._peek() == "_":
            self._take()
            if self._peek() == "{":
                end = self.tokens.index("}", self.position) if "}" in self.tokens[self.position :] else None
                if end is None:
                    raise Undecided
                name += "_" + "".join(self.tokens[self.position + 1 : end])
                self.position = end + 1
            else:
                name += "_" + self._take()
        while self._peek() == "'":
            name += self._take()
        if name in ("e", "i"):
            return name
        if name in _FUNCTION_LETTERS and self._peek() == "(":
            raise Undecided  # f(0) is no product
        self.variables.add(name)
        return "var", name


def _is_small(node: Node, limit: int) -> bool:
    """Whether an exponent is no number, or one of at most this size."""
    number = node[1] if isinstance(node, tuple) and node[0] == "neg" else node
    return not isinstance(number, Fraction) or abs(number) <= limit


def _fraction_of_integers(node: Node) -> Fraction | None:
    if not (isinstance(node, tuple) and node[0] == "frac"):
        return None
    over, under = node[1:]
    whole = all(isinstance(part, Fraction) and part.denominator == 1 for part in (over, under))
    return over / under if whole and under else None
