"""The tasks of the library reasoning-gym: loaded without the parts that run text, found by name, configured with checked values.

Some scorers of the library read an answer with eval or with sympy's parse_expr, which run what they are given. After load() the modules of
the library have the functions of gym_expressions.py under these names.
"""

import dataclasses
import functools
import json
import math
import random
import sys
import types
import typing
import warnings
from collections.abc import Mapping, Sequence
from enum import Enum
from fractions import Fraction
from typing import Any

from deltal_openrlhf.rewards import gym_expressions
from deltal_openrlhf.rewards.countdown import evaluate
from deltal_openrlhf.runs.command import nearest

NEEDS = "reasoning-gym: pip install 'deltal-openrlhf[tasks]'"
"""What to install where the library is missing."""
COMPOSITE = "composite"
"""A task of the library that mixes others, as --task A,B does."""
OWN_FIELDS = ("seed", "size")
"""Fields of every configuration that --seed, --train and --test set."""

_ARITHMETIC_TASKS = ("reasoning_gym.games.countdown", "reasoning_gym.games.puzzle24")
"""Their questions allow + - * / of whole numbers."""


@functools.lru_cache(maxsize=1)
def load() -> dict[str, tuple[type, type]]:
    """(data set, configuration) of each task, by name. Raises ValueError, in one line, where the library is not installed."""
    try:
        import pycosat  # noqa: F401
    except ImportError:  # it has no wheel, so a compiler makes it, and zebra_puzzles alone calls it
        sys.modules["pycosat"] = types.ModuleType("pycosat")
        vars(sys.modules["pycosat"])["itersolve"] = _needs_pycosat
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of cellpylib's
            import reasoning_gym  # noqa: F401
            from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise ValueError(f"{error}; this needs {NEEDS}") from error
    import sympy

    for name, module in list(sys.modules.items()):
        if name.startswith("reasoning_gym."):
            _disarm(module, sympy)
    return {name: pair for name, pair in sorted(DATASETS.items()) if name != COMPOSITE}


def _needs_pycosat(*_: Any) -> typing.NoReturn:
    raise ValueError("this task needs pycosat: pip install pycosat, with a C compiler")


def _disarm(module: types.ModuleType, sympy: types.ModuleType) -> None:
    names = vars(module)
    names["eval"] = gym_expressions.literal
    read = _arithmetic if module.__name__ in _ARITHMETIC_TASKS else gym_expressions.expression
    for name, value in list(names.items()):
        if value is sympy:
            names[name] = _Sympy(sympy)
        elif value is sympy.parse_expr:
            names[name] = read


class _Sympy:
    """sympy with our parse_expr."""

    parse_expr = staticmethod(gym_expressions.expression)

    def __init__(self, sympy: types.ModuleType) -> None:
        self._sympy = sympy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sympy, name)


def _arithmetic(text: str) -> Fraction:
    value, _ = evaluate(text)
    return value


def check_task(name: str) -> None:
    """Raise ValueError for a task that the library does not have."""
    tasks = load()
    if name not in tasks:
        if name == COMPOSITE:
            raise ValueError(f"{name} is a mixture of other tasks: name these")
        hint = nearest(name, tasks) or f"known are {', '.join(tasks)}"
        raise ValueError(f"{name!r} is no task of reasoning-gym; {hint}")


def fields(task: str) -> dict[str, Any]:
    """The type of each field of the task's configuration that may be set."""
    config = load()[task][1]
    hints = typing.get_type_hints(config)
    return {field.name: hints[field.name] for field in dataclasses.fields(config) if field.name not in OWN_FIELDS}


def parsed(text: str, hint: Any) -> Any:
    """The value that a text stands for, in JSON's types: null, true, 3, 0.5, a text, a list as JSON or as A,B,C. Raises ValueError if it
    does not fit the type.
    """
    value: Any
    if (inner := _optional(hint)) is not None:
        return None if text in ("null", "None", "none") else parsed(text, inner)
    if _members(hint) is not None and not text.startswith("["):
        value = [_scalar(part, _members(hint)) for part in text.split(",")]
    else:
        value = _scalar(text, hint)
    typed(value, hint)
    return value


def _scalar(text: str, hint: Any) -> Any:
    if hint is str or (text and typing.get_origin(hint) is typing.Literal) or _is_enum(hint):
        return text
    try:
        return json.loads({"True": "true", "False": "false", "None": "null", "none": "null"}.get(text, text))
    except (ValueError, RecursionError):
        return text


def typed(value: Any, hint: Any) -> Any:
    """A value of JSON's types as the type of its field. Raises ValueError if it does not fit."""
    if (inner := _optional(hint)) is not None:
        return None if value is None else typed(value, inner)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("allowed is a finite number")
    if typing.get_origin(hint) is typing.Literal:
        if value in typing.get_args(hint):
            return value
        raise ValueError(f"allowed are {', '.join(map(str, typing.get_args(hint)))}")
    if _is_enum(hint):
        allowed = [str(member.value) for member in hint]
        if value not in allowed:
            raise ValueError(f"allowed are {', '.join(allowed)}")
        return next(member for member in hint if str(member.value) == value)
    if (member := _members(hint)) is not None:
        if not isinstance(value, list):
            raise ValueError("allowed is a list")
        values = [typed(part, member) for part in value]
        return tuple(values) if hint is tuple or typing.get_origin(hint) is tuple else values
    if hint not in (int, float, str, bool, Any):
        raise ValueError(f"it is of a type that cannot be set here ({getattr(hint, '__name__', hint)})")
    fits = isinstance(value, int | float) if hint is float else hint is Any or isinstance(value, hint)
    if not fits or (isinstance(value, bool) and hint not in (bool, Any)):
        raise ValueError(f"allowed is {_KINDS[hint]}")
    return float(value) if hint is float else value


_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def _members(hint: Any) -> Any:
    """The type of the members of a list or tuple; None for any other type."""
    origin = hint if hint is tuple else typing.get_origin(hint)
    if origin not in (list, tuple, Sequence):
        return None
    return next(iter(typing.get_args(hint)), Any)


def _optional(hint: Any) -> Any:
    """The type that stands with None in Optional[type] and type | None; None for any other type."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return None
    return next(part for part in typing.get_args(hint) if part is not type(None))


def _is_enum(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Enum)


def data_set(task: str, config: Mapping[str, Any], *, size: int = 1, seed: int = 0) -> Any:
    """The library's data set of a task, with these values (in JSON's types) in place of its defaults.

    Raises ValueError, in one line, for an unknown field, a value of another type, and what the library itself finds wrong.
    """
    check_task(task)
    known, values = fields(task), {}
    for name, value in config.items():
        if name not in known:
            raise ValueError(f"{task} has no field {name!r}; {nearest(name, known) or 'it has ' + ', '.join(known)}")
        try:
            values[name] = typed(value, known[name])
        except ValueError as error:
            raise ValueError(f"{task}: {name} is {value!r}, {error}") from error
    made, made_config = load()[task]
    try:
        return made(made_config(**values, size=size, seed=seed))
    # The library's own checks are assertions; what passes them may still fail in any way.
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        given = ", ".join(f"{name}={value}" for name, value in config.items())
        raise ValueError(f"{task}: not a configuration ({given or 'the defaults'}): {why}") from error


def seed_everything(seed: int) -> None:
    """Some tasks draw from the generators of the process."""
    import numpy

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
