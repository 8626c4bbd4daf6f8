"""Enough of Ray and vLLM to import the host's trainers, where these are not installed. Nothing can be started with it.

The checks of `deltal verify` drive the host's trainers in processes of their own: they need the classes that `@ray.remote` wraps, and
names that the host imports from vLLM. Checked against openrlhf 0.11.2.
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn


def install() -> None:
    """Register the stand-in of each of the two that is missing. Call it before the host is imported. Idempotent."""
    for package, modules in (("ray", _ray), ("vllm", _vllm)):
        if importlib.util.find_spec(package) is None:
            for name, contents in modules().items():
                _register(name, contents)


def _register(name: str, contents: dict[str, Any]) -> None:
    module = ModuleType(name, f"stand-in of {name}")
    module.__spec__ = ModuleSpec(name, None)  # find_spec(name) of a loaded module wants one
    module.__path__ = []
    vars(module).update(contents)
    sys.modules[name] = module
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)


def _refuse(*_args: Any, **_kwargs: Any) -> NoReturn:
    raise RuntimeError(
        "Ray and vLLM are not both installed: this process has stand-ins, with which nothing can be started"
    )


class _Remote:
    """What `@ray.remote` makes of a class or function; the host and this project find the class in __ray_metadata__.modified_class."""

    def __init__(self, target: Any) -> None:
        self.__ray_metadata__ = SimpleNamespace(modified_class=target)

    __call__ = remote = options = _refuse


def _remote(*args: Any, **kwargs: Any) -> Any:
    """`@ray.remote`, bare or with arguments."""
    return _Remote(args[0]) if len(args) == 1 and not kwargs and callable(args[0]) else _Remote


class _Refused:
    __init__ = _refuse


def _ray() -> dict[str, dict[str, Any]]:
    return {
        "ray": {
            "remote": _remote,
            "method": lambda *args, **kwargs: lambda function: function,
            "is_initialized": lambda: False,
            "init": _refuse,
            "get": _refuse,
        },
        "ray.util": {},
        "ray.util.placement_group": {"PlacementGroup": _Refused, "placement_group": _refuse},
        "ray.util.queue": {"Queue": _Refused},
        "ray.util.scheduling_strategies": {"PlacementGroupSchedulingStrategy": _Refused},
    }


def _vllm() -> dict[str, dict[str, Any]]:
    return {
        "vllm": {"SamplingParams": _Refused},
        "vllm.inputs": {"TokensPrompt": dict},
        "vllm.utils": {"random_uuid": _refuse},
    }
