"""The number that a LaTeX expression stands for, by a small evaluator of its own: the independent check on graded pairs' labels.

`value(text)` reads what gold answers are made of (integers, decimals, \\frac, \\sqrt, powers, factorials, binomials, floor and ceiling,
logarithms and trigonometric functions, pi, e, i, letters) and computes it with mpmath at 50 digits. A letter stands for a fixed
number drawn from its name and `point`: two expressions with equal values at several points are equal as expressions. Nothing here
comes from the grader that the pairs examine. Raises Unreadable for everything else: nothing is guessed.
"""

import hashlib

import mpmath

POINTS = (0, 1, 2)
TOLERANCE = mpmath.mpf(10) ** -25

FUNCTIONS = {
    **{name: getattr(mpmath, name) for name in ("sin", "cos", "tan", "cot", "sec", "csc", "exp", "ln", "log")},
    **{f"arc{name}": getattr(mpmath, f"a{name}") for name in ("sin", "cos", "tan")},
}
CONSTANTS = {"pi": mpmath.pi, "e": mpmath.e, "i": mpmath.mpc(0, 1)}
GREEK = ("alpha", "beta", "gamma", "delta", "Delta", "theta", "lambda", "mu", "rho", "sigma", "tau", "omega", "hbar")
SKIPPED = ("left", "right", ",", "!", ";", " ", "quad", "displaystyle")
CLOSING = {"(": ")", "[": "]", "{": "}", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil", "|": "|"}


class Unreadable(ValueError):
    """The text is no expression that this evaluator knows."""


def value(text: str, point: int = 0) -> mpmath.mpc:
    with mpmath.workdps(50):
        parser = _Parser(_tokens(text), point)
        try:
            result = mpmath.mpc(parser.sum())
        except (ArithmeticError, ValueError, TypeError, OverflowError) as error:
            raise Unreadable(f"{text!r}: {error}") from error
        if parser.tokens:
            raise Unreadable(f"{text!r}: ends before {parser.tokens[-1]!r}")
        if not mpmath.isfinite(result):
            raise Unreadable(f"{text!r}: not finite")
        return result


def same(a: str, b: str) -> bool:
    """Whether two expressions have the same value at every one of POINTS."""
    for point in POINTS:
        x, y = value(a, point), value(b, point)
        # Relative, for powers as small as 1/20^2012; near zero absolute.
        if abs(x - y) > TOLERANCE * (max(abs(x), abs(y)) if x and y else 1):
            return False
    return True


def _tokens(text: str) -> list[str]:
    """Characters and \\commands, the first one last. Brace groups stay as their characters."""
    tokens, at = [], 0
    while at < len(text):
        end = at + 1
        if text[at] == "\\":
            while end < len(text) and text[end].isalpha():
                end += 1
            end = max(end, at + 2)
        token, at = text[at:end], end
        if token[1:] not in SKIPPED or token[0] != "\\":
            tokens += [{"\\{": "{", "\\}": "}", "\\dfrac": "\\frac", "\\tfrac": "\\frac"}.get(token, token)]
    return [t for t in reversed(tokens) if t not in (" ", "\n", "~")]


class _Parser:
    def __init__(self, tokens: list[str], point: int) -> None:
        self.tokens, self.point = tokens, point

    @property
    def next(self) -> str:
        return self.tokens[-1] if self.tokens else ""

    def take(self, wanted: str | None = None) -> str:
        if not self.tokens or wanted not in (None, self.tokens[-1]):
            raise Unreadable(f"{wanted!r} expected, {self.next!r} found")
        return self.tokens.pop()

    def sum(self):
        total, sign = mpmath.mpf(0), 1
        if self.next in ("+", "-"):
            sign = -1 if self.take() == "-" else 1
        while True:
            total += sign * self.product()
            if self.next not in ("+", "-"):
                return total
            sign = -1 if self.take() == "-" else 1

    def product(self, inside_function: bool = False):
        result = self.power()
        while self.next:
            if self.next in ("\\cdot", "\\times", "*"):
                self.take()
                result *= self.signed_power()
            elif self.next == "/":
                self.take()
                result /= self.signed_power()
            elif self.next[1:] in FUNCTIONS and inside_function:
                break
            elif self.starts_factor():
                result *= self.power()
            else:
                break
        return result

    def starts_factor(self) -> bool:
        token = self.next
        return (
            token in CLOSING
            and token != "|"
            or token.isalnum()
            or token[0] == "\\"
            and token[1:] not in ("rfloor", "rceil")
        )

    def signed_power(self):
        if self.next == "-":
            self.take()
            return -self.power()
        return self.power()

    def power(self):
        base = self.atom()
        while self.next in ("^", "!"):
            if self.take() == "!":
                base = mpmath.factorial(base)
            else:
                base = mpmath.power(base, self.argument())
        return base

    def argument(self):
        """What a macro, ^ or _ takes: a brace group, one digit, one letter or one macro."""
        if self.next == "{":
            return self.group()
        if self.next == "-":
            self.take()
            return -self.argument()
        if self.next.isdigit():
            return mpmath.mpf(self.take())
        return self.atom()

    def group(self):
        closing = CLOSING[self.take()]
        result = self.sum()
        self.take(closing)
        return result

    def atom(self):
        token = self.next
        if token.isdigit() and token.isascii() or token == ".":
            return self.number()
        if token == "|":
            return abs(self.group())
        if token in ("\\lfloor", "\\lceil"):
            rounded = mpmath.floor if token == "\\lfloor" else mpmath.ceil
            return rounded(self.group())
        if token in CLOSING:
            return self.group()
        self.take() if token else None
        if token.isalpha() and token.isascii():
            return self.letter(token)
        name = token[1:]
        if name in GREEK:
            return self.letter(name)
        if name == "frac":
            above = self.argument()
            return above / self.argument()
        if name == "binom":
            above = self.argument()
            return mpmath.binomial(above, self.argument())
        if name == "sqrt":
            return self.root()
        if name in FUNCTIONS:
            return self.function(name)
        if name in CONSTANTS:
            return +CONSTANTS[name]
        raise Unreadable(f"{token!r} is not known")

    def number(self):
        digits = ""
        while self.next.isdigit() or self.next == "." and "." not in digits:
            digits += self.take()
        return mpmath.mpf(digits)

    def letter(self, name: str):
        if self.next == "_":
            self.take()
            if self.next != "{":
                name += "_" + self.take()
            else:
                while self.next != "}":
                    name += "_" + self.take().strip("{")
                self.take("}")
        if name in CONSTANTS:
            return +CONSTANTS[name]
        digest = hashlib.sha256(f"{self.point} {name}".encode()).digest()
        return mpmath.mpf(int.from_bytes(digest[:8], "big")) / 2**64 * 2 + mpmath.mpf("0.3")

    def root(self):
        degree = mpmath.mpf(2)
        if self.next == "[":
            degree = self.group()
        inside = self.argument()
        return mpmath.power(inside, 1 / degree)

    def function(self, name: str):
        base, exponent = None, 1
        while self.next in ("_", "^"):
            if self.take() == "_":
                base = self.argument()
            else:
                exponent = self.argument()
        inside = self.group() if self.next in ("(", "{") else self.product(inside_function=True)
        if name == "log":
            result = mpmath.log(inside) / mpmath.log(10 if base is None else base)
        elif base is None:
            result = FUNCTIONS[name](inside)
        else:
            raise Unreadable(f"\\{name} takes no base")
        return mpmath.power(result, exponent)
