"""YAML files of settings, with the line of each key.

A repeated key is refused (PyYAML keeps the last one), and 1e-6 is a number (PyYAML takes it for text). read_yaml gives plain values.
read_with_lines gives each value as it is written, for readers that know its type and name its line.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from deltal_openrlhf.runs import shipped

_INTEGER = re.compile(r"[-+]?\d+")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_WORDS = {"": None, "null": None, "~": None, "true": True, "false": False}
DEEPEST = 12
"""Levels of keys and lists; a YAML alias may hold itself."""


class Value(NamedTuple):
    """The value of a key, or an item of a list."""

    content: "str | list[Value] | dict[str, Value]"
    """Text as it is written, items, or values by key."""
    where: str
    """"FILE:LINE" of the key, or of the item."""
    plain: bool
    """Text without quotes, so that true, null and numbers are not meant as text."""


def read_with_lines(name: str) -> dict[str, Value]:
    """The mapping in a file, which may be a shipped one. Raises ValueError that names the file, as it was asked for, and the line."""
    path = shipped.located(name)
    try:
        text = path.read_text(encoding="utf-8")
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if getattr(event, "tag", None):
                raise ValueError(f"{_line(name, event)}: the tag {event.tag!r} has no meaning here; leave it out")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise ValueError(f"{name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: not UTF-8 text") from error
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or error
        raise ValueError(f"{name}{f':{mark.line + 1}' if mark else ''}: not YAML: {problem}") from error
    if not isinstance(root, yaml.MappingNode):
        raise ValueError(f"{_line(name, root) if root else name}: holds no `key: value` lines")
    return _entries(name, root, 1)


def read_yaml(name: str) -> dict[str, Any]:
    """The mapping in a file, of None, booleans, numbers, texts, lists and mappings. Raises ValueError as read_with_lines does."""
    return {key: plain_value(value) for key, value in read_with_lines(name).items()}


def dotted(entries: dict[str, Value], above: str = "") -> Iterator[tuple[str, Value]]:
    """(key, value) of every text and list, in their order; nested keys are joined by dots."""
    for name, value in entries.items():
        if isinstance(value.content, dict):
            yield from dotted(value.content, f"{above}{name}.")
        else:
            yield above + name, value


def plain_value(value: Value) -> Any:
    """None, a boolean, a number, a text, a list or a mapping."""
    content = value.content
    if isinstance(content, dict):
        return {key: plain_value(inner) for key, inner in content.items()}
    if isinstance(content, list):
        return [plain_value(item) for item in content]
    if not value.plain:
        return content
    if content.lower() in _WORDS:
        return _WORDS[content.lower()]
    if _INTEGER.fullmatch(content):
        return int(content)
    return float(content) if _NUMBER.fullmatch(content) else content


def _entries(name: str, node: yaml.MappingNode, depth: int) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for key, value in node.value:
        where = _line(name, key)
        if not (isinstance(key, yaml.ScalarNode) and key.value):
            raise ValueError(f"{where}: a key is a name")
        if key.value in found:
            raise ValueError(f"{where}: {key.value!r} is there twice, first in {found[key.value].where}")
        found[key.value] = _value(name, value, where, depth)
    return found


def _value(name: str, node: yaml.Node, where: str, depth: int) -> Value:
    if depth > DEEPEST:
        raise ValueError(f"{where}: nested too deep")
    if isinstance(node, yaml.MappingNode):
        return Value(_entries(name, node, depth + 1), where, False)
    if isinstance(node, yaml.SequenceNode):
        return Value([_value(name, item, _line(name, item), depth + 1) for item in node.value], where, False)
    return Value(node.value, where, node.style is None)


def _line(name: str, node: yaml.Node | yaml.Event) -> str:
    return f"{name}:{node.start_mark.line + 1}"
