"""Checks of adapters: is the trainer installed, does it take what is passed or overridden, and are its settings allowed?"""

import importlib
import importlib.util
import inspect
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from deltal_openrlhf.aggregation import Aggregation


def require(package: str, checked: str, exactly: Mapping[str, str], among: Mapping[str, str]) -> None:
    """Raise ImportError, in one line, unless the trainer is there as its adapter needs it.

    Args:
        package: the module to import, which is also the name of the distribution.
        checked: the version that the adapter was checked with.
        exactly: "module:path" of a function -> all its parameters, in their order.
        among: "module:path" of a function or class -> parameters that it takes among others.
    """
    tested = f"this adapter was checked with {package} {checked}"
    if importlib.util.find_spec(package) is None:
        raise ImportError(f"{package} is not installed; {tested}", name=package)
    try:
        named = f"{package} {version(package)}"
    except PackageNotFoundError:  # a source tree on the path
        named = package
    for target, wanted in {**exactly, **among}.items():
        name = target.replace(":", ".")
        try:
            parameters = inspect.signature(resolve(target)).parameters
            found = [one for one in parameters if one != "_ray_trace_ctx"]  # Ray adds it to an actor's methods
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise ImportError(f"{named} has no usable {name} ({error}); {tested}", name=package) from error
        missing = [one for one in wanted.split(", ") if one not in found]
        if missing if target in among else found != wanted.split(", "):
            takes = f"no {', '.join(missing)}" if target in among else f"({', '.join(found)}), wanted ({wanted})"
            raise ImportError(f"{named} changed {name}: it takes {takes}; {tested}", name=package)


def resolve(target: str) -> Any:
    """The object that "module:path" names. Ray's wrapper of an actor class is removed."""
    module, _, path = target.partition(":")
    value: Any = importlib.import_module(module)
    for part in path.split("."):
        value = getattr(value, part)
        value = value.__ray_metadata__.modified_class if hasattr(value, "__ray_metadata__") else value
    return value


def aggregation_of(value: object) -> Aggregation:
    """The value. Raises ValueError, in one line, unless it is an Aggregation: a mode's name alone is not."""
    if not isinstance(value, Aggregation):
        raise ValueError(f"aggregation is {value!r}, allowed is an Aggregation of deltal_openrlhf")
    return value


def allow(name: str, value: object, *allowed: object) -> None:
    """Raise ValueError, in one line, unless the value is one of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} is {value}, allowed is {', '.join(map(str, allowed))}")
