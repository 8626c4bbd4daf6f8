"""The host's command line without its trainers, whose imports take many seconds.

Only what follows `if __name__ == "__main__":` in the host's file is run, as it stands there: it makes the parser, checks the flags and
calls train(args). The names that it uses come from the file's imports; of the others, none is carried out.
"""

import ast
import builtins
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from deltal_openrlhf.host.alone import alone
from deltal_openrlhf.host.bindings import CHECKED_AGAINST, CLI_MODULE
from deltal_openrlhf.runs.packages import installed_version

CONFIG_MODULE = "openrlhf.utils.config"
"""Turns flat flags into groups. It imports nothing; the package that it is in imports torch and transformers."""
GIVEN = "train"
"""The block gets a function of this name."""


class Changed(ValueError):
    """The host's file has another form than this module can run; one line."""

    def __init__(self, problem: str) -> None:
        version = installed_version("openrlhf")
        super().__init__(f"openrlhf {version} {problem}; checked against openrlhf {CHECKED_AGAINST}")


def parse() -> SimpleNamespace:
    """The host's hierarchical arguments, of sys.argv, as it would pass them to its train(). What it refuses ends as it does there.

    Raises Changed if the block needs more of its file than imports.
    """
    spec = find_spec(CLI_MODULE)
    assert spec is not None and spec.origin is not None
    imports, block = _parts(Path(spec.origin))
    parsed: list[SimpleNamespace] = []
    code = compile(ast.Module([*imports, *block], []), spec.origin, "exec")
    is_loaded = CONFIG_MODULE in sys.modules
    sys.modules[CONFIG_MODULE] = alone(CONFIG_MODULE)
    try:
        exec(code, {"__name__": "__main__", GIVEN: parsed.append})
    finally:
        if not is_loaded:  # the package, once imported, gets it as an attribute
            del sys.modules[CONFIG_MODULE]
    return parsed[0]


def hierarchize(flat: Any) -> Any:
    """The host's function of this name."""
    return alone(CONFIG_MODULE).hierarchize(flat)


def _parts(path: Path) -> tuple[list[ast.stmt], list[ast.stmt]]:
    """Of the file's imports, those that the block for __main__ uses; and the block."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    block = next(
        (node for node in tree.body if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)), None
    )
    if block is None:
        raise Changed(f"has no block for __main__ in {CLI_MODULE}")
    used, known = _names(block.body)
    imports: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            node.names = [name for name in node.names if _bound(name) in used]
            imports += [node] if node.names else []
            known |= set(map(_bound, node.names))
    if unknown := used - known - {*dir(builtins), "__name__", GIVEN}:
        raise Changed(f"uses its own {min(unknown)} in the block for __main__ of {CLI_MODULE}")
    return imports, block.body


def _names(block: list[ast.stmt]) -> tuple[set[str], set[str]]:
    """The names that the block reads, and those that it binds."""
    used: set[str] = set()
    bound: set[str] = set()
    for node in ast.walk(ast.Module(block, [])):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.alias):
            bound.add(_bound(node))
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return used, bound


def _bound(name: ast.alias) -> str:
    return name.asname or name.name.partition(".")[0]
