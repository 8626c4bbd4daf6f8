"""A YAML file as plain values: duplicate keys are refused (PyYAML keeps the last one), and 1e-6 is a number (PyYAML takes it for text)."""

import re
from typing import Any

import yaml

_INTEGER = re.compile(r"[-+]?\d+")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_WORDS = {"true": True, "false": False, "null": None, "~": None}
DEEPEST = 12
"""Levels of keys; a YAML alias may hold itself."""


def read_yaml(path: str) -> dict[str, Any]:
    """The mapping in a file; keys are text. Raises ValueError that names the file and the line."""
    try:
        with open(path, encoding="utf-8") as file:
            root = yaml.compose(file.read(), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text") from error
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or error
        raise ValueError(f"{path}{f':{mark.line + 1}' if mark else ''}: not YAML: {problem}") from error
    if not isinstance(root, yaml.MappingNode):
        raise ValueError(f"{path}: holds no `key: value` lines")
    return _value(path, root, 0)


def _value(path: str, node: yaml.Node, depth: int) -> Any:
    where = f"{path}:{node.start_mark.line + 1}"
    if depth > DEEPEST:
        raise ValueError(f"{where}: nested too deep")
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, value in node.value:
            if not (isinstance(key, yaml.ScalarNode) and key.value):
                raise ValueError(f"{path}:{key.start_mark.line + 1}: a key is a name")
            if key.value in found:
                raise ValueError(f"{path}:{key.start_mark.line + 1}: {key.value!r} is there twice")
            found[key.value] = _value(path, value, depth + 1)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_value(path, item, depth + 1) for item in node.value]
    return node.value if node.style is not None else _plain(node.value)


def _plain(text: str) -> Any:
    """The value of a scalar without quotes."""
    if text.lower() in _WORDS or not text:
        return _WORDS.get(text.lower())
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text
