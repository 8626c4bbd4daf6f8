"""Checks that a name of another package exists, with the parameters that this package passes or overrides."""

import importlib
import inspect
from typing import Any


def resolve(target: str) -> Any:
    """The object that "module:path" names. Ray's wrapper of an actor class is removed. Raises ImportError or AttributeError."""
    module_name, _, path = target.partition(":")
    value: Any = importlib.import_module(module_name)
    for part in path.split("."):
        value = getattr(value, part)
        metadata = getattr(value, "__ray_metadata__", None)
        if metadata is not None:
            value = metadata.modified_class
    return value


def changed(target: str, wanted: str, *, exactly: bool = True) -> str | None:
    """What is missing or changed, as the end of a sentence about the package. None if nothing is.

    target: "module:path" of a function or a class. wanted: names of parameters, in their order. exactly: whether others are forbidden.
    """
    name = target.replace(":", ".")
    try:
        parameters = inspect.signature(resolve(target)).parameters
    except (ImportError, AttributeError, TypeError) as error:
        return f"has no usable {name} ({error})"
    found = [name for name in parameters if name != "_ray_trace_ctx"]  # Ray adds it to an actor's methods
    if exactly:
        return None if ", ".join(found) == wanted else f"changed {name}: takes ({', '.join(found)}), wanted ({wanted})"
    passed = ", ".join(parameter for parameter in found if parameter in wanted.split(", "))
    return None if passed == wanted else f"changed {name}: takes of what is wanted ({passed}), wanted ({wanted})"
