"""Exact arithmetic on the operators of countdown, for tests that work out a trace themselves."""

import operator
from fractions import Fraction

OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": Fraction}
