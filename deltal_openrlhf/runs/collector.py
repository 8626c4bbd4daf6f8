"""Keeps Python's garbage collector from slowing long imports down."""

import gc
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

LARGE = ("datasets", "deepspeed", "megatron", "openrlhf", "peft", "torch", "transformers", "vllm")
"""Packages with thousands of modules."""


class _Finder:
    """Finds nothing itself: takes what the other finders found, and switches the collector off while the module runs."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        # Off: within another such import, or by somebody's choice.
        if name.partition(".")[0] not in LARGE or not gc.isenabled():
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader.exec_module = _resting(spec.loader.exec_module)  # type: ignore[assignment]
                return spec
        return None


def _resting(execute: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    def exec_module(module: ModuleType) -> None:
        if not gc.isenabled():
            return execute(module)
        gc.disable()
        try:
            execute(module)
        finally:
            gc.enable()

    return exec_module


_finder = _Finder()


def rest_in_imports() -> None:
    """Have the collector switched off while a module of LARGE is imported, with all that it imports. Idempotent.

    Each import adds objects that stay, and the collector walks all of them again and again: about a fifth of what it takes to import
    torch, vLLM and DeepSpeed.
    """
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
