"""Where a parser stands in its tokens, and what can follow there."""

from deltal_openrlhf.grading.function_names import ELEMENTARY
from deltal_openrlhf.grading.values.arithmetic import Undecided
from deltal_openrlhf.grading.values.tokens import GREEK


class Malformed(Undecided):
    """It ends in the middle of an expression: \\frac{3}, 2+."""


class Cursor:
    """in_bars: whether a | that is open waits for its second."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.position = 0
        self.in_bars = False

    def peek(self) -> str | None:
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def take(self, wanted: str | None = None) -> str:
        token = self.peek()
        if token is None:
            raise Malformed
        if wanted is not None and token != wanted:
            raise Undecided
        self.position += 1
        return token

    def starts_factor(self, token: str | None) -> bool:
        if token is None or token in (r"\rfloor", r"\rceil", r"\}", r"\{"):
            return False
        if token == "|":
            return not self.in_bars
        return token[0] == "\\" or token in ("(", "{") or token[0].isalnum() or token[0] == "."

    def is_letter(self, token: str | None) -> bool:
        letter = token is not None and (token.isalpha() or token[1:] in GREEK or token == r"\pi")
        return letter and token not in ("e", "i")

    def is_call(self) -> bool:
        """P(2), \\delta(t), which may be a function's value or a product."""
        inside = self.tokens[self.position + 1 : self.position + 3]
        return len(inside) == 2 and inside[1] == ")" and inside[0][-1].isalnum()


def is_function(token: str) -> bool:
    return token[0] == "\\" and token[1:] in ELEMENTARY
