"""Values of parsed expressions.

evaluation = Evaluation({"x": Fraction(1, 3)}, bits=200, real=True)
evaluation.value(tree)       # a Fraction, or mpmath's mpf or mpc
"""

from fractions import Fraction
from typing import Any

from deltal_openrlhf.grading.values.arithmetic import Arithmetic, OutsideDomain, Undecided, Undefined, Value
from deltal_openrlhf.grading.values.functions import FUNCTIONS

Node = Any
"""(operation, operands...), ("var", name), a Fraction, or the name of a constant: pi, e, i."""
Point = dict[str, Fraction]

_OPERATIONS = FUNCTIONS | {
    "plus": Arithmetic.plus,
    "times": Arithmetic.times,
    "over": Arithmetic.over,
    "minus": lambda _, a: -a,
    "power": Arithmetic.power,
    "root": Arithmetic.root,
    "bracket": lambda _, a: a,
    "apply": Arithmetic.times,  # f(2) may be a product: what differs as one is no identity of functions either
}


class Evaluation(Arithmetic):
    """At a point: the values of the variables. `operations` counts them."""

    def __init__(self, point: Point, bits: int, real: bool) -> None:
        super().__init__(bits, real)
        self.point = point
        self.operations = 0

    def value(self, node: Node) -> Value:
        """Raises Undefined or Undecided where there is none."""
        if type(node) is Fraction:
            self.see(node.numerator.bit_length())
            self.see(-node.denominator.bit_length())
            return node
        if isinstance(node, str):
            if node != "i":
                return +getattr(self.context, node)
            if self.real:
                raise OutsideDomain
            return self.context.mpc(0, 1)
        operation = node[0]
        if operation == "var":
            return self.point[node[1]]
        self.operations += 1
        operands = [self.value(part) for part in node[1:]]
        try:
            return self.seen(_OPERATIONS[operation](self, *operands))
        except (ZeroDivisionError, ValueError):
            raise Undefined from None
        except OverflowError:
            raise Undecided from None
