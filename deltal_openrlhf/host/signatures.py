"""Whether a name of a package that we build on is there, with the parameters that we pass or override."""

import importlib
import inspect
from typing import Any


def resolve(target: str) -> Any:
    """What "module:path" names, looking through Ray's wrapper of an actor class. Raises ImportError or AttributeError."""
    module_name, _, path = target.partition(":")
    value: Any = importlib.import_module(module_name)
    for part in path.split("."):
        value = getattr(value, part)
        metadata = getattr(value, "__ray_metadata__", None)
        if metadata is not None:
            value = metadata.modified_class
    return value


def changed(target: str, wanted: str, *, exactly: bool = True) -> str | None:
    """What is missing or changed, as the end of a sentence about the package; None where all is as wanted.

    target: "module:path" of a function or a class. wanted: names of parameters, in their order. exactly: whether there may be no others.
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
