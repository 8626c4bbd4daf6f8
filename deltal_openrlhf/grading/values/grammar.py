"""The grammar of short expressions, by recursive descent."""

import re
from fractions import Fraction

from deltal_openrlhf.grading.function_names import ELEMENTARY, OF_SEVERAL
from deltal_openrlhf.grading.values.arithmetic import Undecided
from deltal_openrlhf.grading.values.cursor import Cursor, Malformed, is_function
from deltal_openrlhf.grading.values.evaluation import Node
from deltal_openrlhf.grading.values.tokens import GREEK, tokens_of

_MAX_DEPTH = 40
_ROUNDING = {r"\lfloor": ("floor", r"\rfloor"), r"\lceil": ("ceil", r"\rceil")}
_CLOSING = {"(": ")", "[": "]", r"\{": r"\}", "{": "}"}
_INVERSES = {
    "sin": "arcsin", "cos": "arccos", "tan": "arctan", "sinh": "arsinh", "cosh": "arcosh", "tanh": "artanh",
}  # fmt: skip
_FUNCTION_LETTERS = set("fghFGH")
_ZERO = re.compile(r"0+\.?0*|\.0+")


class Parser(Cursor):
    """Of one text. `variables`: the names of those that occurred."""

    def __init__(self, text: str) -> None:
        super().__init__(tokens_of(text))
        self.depth = 0
        self.has_brackets = False
        self.factors = 0
        self.variables: set[str] = set()

    def parse(self) -> Node:
        """The tree of the whole text. Raises Undecided, or Malformed, where this grammar does not read it."""
        tree = self._sum()
        if self.position != len(self.tokens):
            raise Undecided
        return tree

    def _sum(self) -> Node:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise Undecided
        node = None
        while True:
            token = self.peek()
            negative = False
            if token in ("+", "-"):
                self.take()
                negative = token == "-"
            elif node is not None:
                break
            term = self._product()
            term = ("minus", term) if negative else term
            node = term if node is None else ("plus", node, term)
        self.depth -= 1
        return node

    def _product(self) -> Node:
        node = self._implicit()
        divided = False
        while self.peek() in ("*", "/"):
            sign = self.take()
            start = self.position
            right = self._signed_implicit()
            # a/bc may mean a/(bc) or (a/b)c; 1/2x too.
            if sign == "/" and self.factors > 1 and self.tokens[start : start + 1] != ["("]:
                raise Undecided
            if divided and sign == "/":
                raise Undecided
            divided = divided or sign == "/"
            node = ("times" if sign == "*" else "over", node, right)
        return node

    def _signed_implicit(self) -> Node:
        if self.peek() == "-":
            self.take()
            return "minus", self._implicit()
        return self._implicit()

    def _implicit(self) -> Node:
        """Factors without a sign between them. A whole number before a fraction of numbers is a mixed number: 2\\frac{1}{3} = 7/3."""
        node = self._power()
        factors = 1
        while self.starts_factor(self.peek()):
            bare = (self.peek() or "")[0] in ".0123456789"
            zero = any(map(_ZERO.fullmatch, self.tokens[self.position - 1 : self.position + 1]))
            right = self._power()
            if bare and isinstance(right, Fraction) and isinstance(node, Fraction):
                raise Malformed  # "2 3"
            if zero:
                raise Undecided  # "0 if odd": words, which nobody multiplies by 0
            part = _fraction_of_integers(right)
            if part is not None and isinstance(node, Fraction) and factors == 1:
                if node.denominator != 1 or not 0 < part < 1:
                    raise Undecided
                node = node + part
            else:
                node = ("times", node, right)
            factors += 1
        self.factors = factors
        return node

    def _power(self) -> Node:
        base = self._atom()
        if self.peek() == "!":
            self.take()
            operation = "factorial"
            if self.peek() == "!":
                self.take()
                operation = "double_factorial"
            base = (operation, base)
        if self.peek() in ("^", "**"):
            self.take()
            base = ("power", base, self._exponent())
            if self.peek() in ("^", "**", "!") or (self.peek() == "(" and _is_function_letter(base[1])):
                raise Undecided  # f^{-1}(x)
        return base

    def _exponent(self) -> Node:
        if self.peek() == "{":
            return self._braced()
        if self.peek() == "-":
            self.take()
            return "minus", self._atom()
        return self._atom()

    def _braced(self) -> Node:
        self.take("{")
        node = self._sum()
        self.take("}")
        return node

    def _argument(self, whole_number: bool = False) -> Node:
        r"""The argument of \frac, \sqrt, \binom: {...}, or one digit or letter: \frac12. \sqrt10 means the root of 10."""
        if self.peek() == "{":
            return self._braced()
        token = self.take()
        if token.isdigit() and not whole_number:
            if len(token) > 1:
                self.tokens[self.position - 1 : self.position] = [token[0], token[1:]]
            return Fraction(token[0])
        self.position -= 1
        return self._atom()

    def _atom(self) -> Node:
        token = self.take()
        if token[0].isdigit() or token[0] == ".":
            if self.peek() == "_":
                raise Undecided  # a number in another base
            return Fraction(token)
        if token in ("(", "["):
            start = self.position
            node = self._sum()
            self.take(_CLOSING[token])
            inside = self.tokens[start : self.position]
            if token == "(" or self.peek() in ("^", "**") or "(" in inside or "[" in inside:
                return node
            self.has_brackets = True
            return "bracket", node  # [n/2], a floor to some
        if token == "{":
            self.position -= 1
            return self._braced()
        if token == "|":
            if self.in_bars:
                raise Undecided
            self.in_bars = True
            node = self._sum()
            self.in_bars = False
            self.take("|")
            return "abs", node
        if token in _ROUNDING:
            operation, closing = _ROUNDING[token]
            node = self._sum()
            self.take(closing)
            return operation, node
        name = token.lstrip("\\")
        if token == r"\frac":
            over = self._argument()
            under = self._argument()
            return "frac", over, under
        if token == r"\binom":
            return "binom", self._argument(), self._argument()
        if token == r"\sqrt":
            if self.peek() == "[":
                self.take()
                root = self._sum()
                self.take("]")
                return "root", root, self._argument(whole_number=True)
            return "sqrt", self._argument(whole_number=True)
        if token == r"\pi":
            return "pi"
        if token[0] == "\\":
            if name in ELEMENTARY:
                return self._function(name)
            if name in OF_SEVERAL:
                return name, *self._arguments()
            if token == r"\abs":
                return "abs", *self._arguments(one=True)
            if name not in GREEK:
                raise Undecided
        elif not token.isalpha():
            raise Undecided
        return self._variable(name)

    def _arguments(self, one: bool = False) -> list[Node]:
        r"""(a, b), \{a, b\}, {(a, b)}, the arguments of \gcd and \max."""
        opening = self.take()
        if opening not in _CLOSING:
            raise Undecided
        if self.peek() == r"\{" or (opening == "{" and self.peek() in _CLOSING):
            nodes = self._arguments(one)
        else:
            nodes = [self._sum()]
            while self.peek() == "," and not one:
                self.take()
                nodes.append(self._sum())
        self.take(_CLOSING[opening])
        return nodes

    def _function(self, name: str) -> Node:
        base: Node | None = None
        if name == "log" and self.peek() == "_":
            self.take()
            base = self._argument(whole_number=self.peek() == "10")
        power = None
        if self.peek() == "^":
            self.take()
            power = self._exponent()
            if power == ("minus", Fraction(1)):
                if name not in _INVERSES:
                    raise Undecided  # the inverse function or the reciprocal
                name, power = _INVERSES[name], None
        argument = self._atom() if self.peek() in ("(", "{", "[") else self._bare_argument()
        if name == "log":
            node: Node = ("log", Fraction(10) if base is None else base, argument)
        else:
            node = ("power", "e", argument) if name == "exp" else (name, argument)
        return node if power is None else ("power", node, power)

    def _bare_argument(self) -> Node:
        r"""What \sin stands before without brackets: 2x, \pi n, \frac{x}{2}, up to another function. Else its end is convention."""
        first = self.peek() or ""
        node = self._power()
        if first[:1].isdigit() or self.is_letter(first):
            while self.is_letter(self.peek()):
                node = ("times", node, self._power())
        following = self.tokens[self.position : self.position + 2]
        if following[:1] == ["/"]:
            following.pop(0)
            if not following or not is_function(following[0]):
                raise Undecided
        elif self.starts_factor(self.peek()) and not is_function(following[0]):
            raise Undecided
        return node

    def _variable(self, name: str) -> Node:
        if self.peek() == "_":
            self.take()
            if self.peek() == "{":
                end = self.tokens.index("}", self.position) if "}" in self.tokens[self.position :] else None
                if end is None:
                    raise Undecided
                name += "_" + "".join(self.tokens[self.position + 1 : end])
                self.position = end + 1
            else:
                name += "_" + self.take()
        while self.peek() == "'":
            name += self.take()
        if name in ("e", "i"):
            return name
        self.variables.add(name)
        node = "var", name
        if self.peek() == "(" and (name[0] in _FUNCTION_LETTERS or name[-1] == "'" or self.is_call()):
            return "apply", node, self._atom()
        return node


def _is_function_letter(node: Node) -> bool:
    return isinstance(node, tuple) and node[0] == "var" and node[1][0] in _FUNCTION_LETTERS


def _fraction_of_integers(node: Node) -> Fraction | None:
    if not (isinstance(node, tuple) and node[0] == "frac"):
        return None
    over, under = node[1:]
    whole = all(isinstance(part, Fraction) and part.denominator == 1 for part in (over, under))
    return over / under if whole and under else None
