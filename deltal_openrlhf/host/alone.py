"""Modules of the host that need little, without the packages that they are in, whose imports take many seconds."""

import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType


def alone(name: str) -> ModuleType:
    """The host's module of this name: the one that is imported, else a copy of it that nobody else gets."""
    if name in sys.modules:
        return sys.modules[name]
    package, *parts = name.split(".")
    found = find_spec(package)
    assert found is not None and found.submodule_search_locations
    path = Path(found.submodule_search_locations[0], *parts).with_suffix(".py")
    spec = spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
