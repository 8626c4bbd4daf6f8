"""Reads what reasoning-gym's scorers read with eval and with sympy's parse_expr. No text is run.

Python's parser makes a tree of the text, and its nodes become values here, one by one. A node of any other kind is a ValueError.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

_SIGNS: dict[type, Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_OF_NUMBERS: dict[type, Callable[[Any, Any], Any]] = _ARITHMETIC | {
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_CONSTANTS = ("pi", "oo")
_FUNCTIONS = frozenset(
    "sin cos tan cot sec csc asin acos atan sinh cosh tanh asinh acosh atanh exp log ln sqrt Abs Rational".split()
)
_NUMBER = re.compile(r"(\d+)|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
"""A decimal number; the group is a whole one."""


def literal(text: str) -> Any:
    """The value of numbers, texts, lists and the like, and of arithmetic over numbers. Raises ValueError or SyntaxError for any other."""
    return _value(ast.parse(text.strip(), mode="eval").body)


def _value(node: ast.AST) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=parts):
            return list(map(_value, parts))
        case ast.Tuple(elts=parts):
            return tuple(map(_value, parts))
        case ast.Set(elts=parts):
            return set(map(_value, parts))
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return dict(zip(map(_value, keys), map(_value, values), strict=True))  # type: ignore[arg-type]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _SIGNS:
            return _SIGNS[type(op)](_number(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OF_NUMBERS:
            return _OF_NUMBERS[type(op)](_number(left), _number(right))
    raise ValueError(f"not a value: {type(node).__name__}")


def _number(node: ast.AST) -> Any:
    value = _value(node)
    if not isinstance(value, int | float):
        raise ValueError(f"not a number: {type(value).__name__}")
    return value


def expression(text: str, *, local_dict: Mapping[str, Any] | None = None) -> Any:
    """sympy's value of an expression of decimal numbers, variables, the usual functions and + - * / **.

    A single letter is a variable, E and I too. local_dict: other values of names. Raises ValueError or SyntaxError for any other text.
    """
    import sympy

    text = text.strip()
    names = dict(local_dict or {}) | {name: getattr(sympy, name) for name in _CONSTANTS}

    def value(node: ast.AST) -> Any:
        match node:
            case ast.Constant() if found := _NUMBER.fullmatch(ast.get_source_segment(text, node) or ""):
                return sympy.Integer(found[0]) if found[1] else sympy.Float(found[0])
            case ast.Name(id=name) if name in names:
                return names[name]
            case ast.Name(id=name) if len(name) == 1 and name.isascii() and name.isalpha():
                return sympy.Symbol(name)
            case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]) if name in _FUNCTIONS:
                return getattr(sympy, name)(*map(value, parts))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _SIGNS:
                return _SIGNS[type(op)](value(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return _ARITHMETIC[type(op)](value(left), value(right))
        raise ValueError(f"not an expression: {type(node).__name__}")

    return value(ast.parse(text, mode="eval").body)
