"""The names of functions, as a text may spell them. What a function does stands in values/functions.py."""

TRIGONOMETRIC = frozenset("sin cos tan cot sec csc".split())
HYPERBOLIC = frozenset("sinh cosh tanh coth sech csch".split())
INVERSE = frozenset("arcsin arccos arctan arsinh arcosh artanh".split())
ELEMENTARY = TRIGONOMETRIC | HYPERBOLIC | INVERSE | {"ln", "exp", "log"}
OF_SEVERAL = frozenset("gcd lcm max min".split())
"""Functions of one argument or more, in an order that does not count."""
SPELLINGS = {
    "arcsinh": "arsinh", "arccosh": "arcosh", "arctanh": "artanh", "asin": "arcsin", "acos": "arccos", "atan": "arctan",
    "tg": "tan", "ctg": "cot", "arctg": "arctan", "cosec": "csc",
}  # fmt: skip
"""Other spelling -> name."""
IN_LATEX = ELEMENTARY | OF_SEVERAL | {"arcsinh", "arccosh", "arctanh"}
"""Those that have a command or stand in \\operatorname{}."""
