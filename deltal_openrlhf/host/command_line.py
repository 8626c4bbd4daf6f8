"""The host's command line without its trainers, whose imports take many seconds.

Only what follows `if __name__ == "__main__":` in the host's file is run, as it stands there: it makes the parser, checks the flags and
calls train(args). The names that it uses come from the file's imports; of the others, none is carried out.
"""

import ast
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from deltal_openrlhf.host.alone import alone
from deltal_openrlhf.host.bindings import CLI_MODULE

CONFIG_MODULE = "openrlhf.utils.config"
"""Turns flat flags into groups. It imports nothing; the package that it is in imports torch and transformers."""


def parse() -> SimpleNamespace:
    """The host's hierarchical arguments, of sys.argv, as it would pass them to its train(). What it refuses ends as it does there."""
    spec = find_spec(CLI_MODULE)
    assert spec is not None and spec.origin is not None
    imports, block = _parts(Path(spec.origin))
    parsed: list[SimpleNamespace] = []
    code = compile(ast.Module([*imports, *block], []), spec.origin, "exec")
    is_loaded = CONFIG_MODULE in sys.modules
    sys.modules[CONFIG_MODULE] = alone(CONFIG_MODULE)
    try:
        exec(code, {"__name__": "__main__", "train": parsed.append})
    finally:
        if not is_loaded:  # the package, once imported, gets it as an attribute
            del sys.modules[CONFIG_MODULE]
    return parsed[0]


def hierarchize(flat: Any) -> Any:
    """The host's function of this name."""
    return alone(CONFIG_MODULE).hierarchize(flat)


def _parts(path: Path) -> tuple[list[ast.stmt], list[ast.stmt]]:
    """Of the file's imports, those that the block for __main__ uses; and the block. Raises ImportError if there is none."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    block = next(
        (node for node in tree.body if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)), None
    )
    if block is None:
        raise ImportError(f"{path} has no block for __main__")
    used = {node.id for node in ast.walk(block) if isinstance(node, ast.Name)}
    imports: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            node.names = [name for name in node.names if (name.asname or name.name.partition(".")[0]) in used]
            imports += [node] if node.names else []
    return imports, block.body
