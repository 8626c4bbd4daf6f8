"""Call a function with a module right after that module was imported.

Ray workers and vLLM processes import the host when they please. To mend a module there, we have to be called between its
import and the first `from module import name` of somebody else.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

Action = Callable[[ModuleType], None]


class _Finder(importlib.abc.MetaPathFinder):
    """Finds nothing itself: takes what the other finders found, and adds the actions to its execution."""

    def __init__(self) -> None:
        self.actions: dict[str, list[Action]] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name not in self.actions:
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                self._extend(spec.loader, self.actions[name])
                return spec
        return None

    @staticmethod
    def _extend(loader: Any, actions: list[Action]) -> None:
        """A loader belongs to one module, so extending it touches no other."""
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            for action in actions:
                action(module)

        loader.exec_module = exec_module


_finder = _Finder()


def on_import(name: str, action: Action) -> None:
    """Call action(module) when `name` has been imported: now, if it already is. An error in it makes the import fail."""
    module = sys.modules.get(name)
    if module is not None and not getattr(module.__spec__, "_initializing", False):
        action(module)
        return
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    _finder.actions.setdefault(name, []).append(action)
