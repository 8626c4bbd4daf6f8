"""An adapter on a small stand-in of its trainer."""

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def imported(monkeypatch):
    """imported(name, {module: {name: value}}): the adapter, with these modules in place of its trainer's."""
    adapters = importlib.import_module("deltal_openrlhf.adapters")

    def load(name: str, modules: dict[str, dict[str, Any]]) -> Any:
        everything = {parent: {} for path in modules for parent in parents(path)} | modules
        for path, contents in everything.items():
            module = ModuleType(path)
            module.__spec__, module.__path__ = ModuleSpec(path, None), []
            vars(module).update(contents)
            monkeypatch.setitem(sys.modules, path, module)
        adapter = importlib.import_module(f"deltal_openrlhf.adapters.{name}")
        delattr(adapters, name)  # a later import is of the real trainer
        del sys.modules[adapter.__name__]
        return adapter

    return load


def parents(path: str) -> list[str]:
    names = path.split(".")
    return [".".join(names[:count]) for count in range(1, len(names))]
