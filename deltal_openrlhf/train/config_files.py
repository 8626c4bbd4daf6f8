"""--config FILE.yaml: flags of the command line, kept in files.

    loss_agg: deltal                         # --loss_agg deltal
    actor.adam.betas: [0.9, 0.999]           # --actor.adam.betas 0.9 0.999
    rollout: {batch_size: 128, top_p: 1.0}   # --rollout.batch_size 128 --rollout.top_p 1.0
    ds.enable_sleep: true                    # --ds.enable_sleep; false takes back what an earlier file has set
    eval.dataset: [a.jsonl, b.jsonl]         # --eval.dataset a.jsonl,b.jsonl
    alpha: null                              # the default, whatever an earlier file says

A later file replaces single values of an earlier one, and flags of the command line win over all files. Every value is text in here, as on
the command line: the parser that owns the flag gives it its type and says what is allowed (YAML alone takes 1e-6 for text and off for
a boolean).
"""

import argparse
import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

import yaml

NOT_IN_FILES = ("config", "dry-run", "help")
COMMAND_LINE = "command line"
DEEPEST = 8
"""Levels of keys; a YAML alias may hold itself."""


class Setting(NamedTuple):
    """One line of a file. value: text, a list of texts, or None for null. plain: not in quotes, so that true and false are booleans."""

    key: str
    value: str | list[str] | None
    plain: bool
    where: str


class Expanded(NamedTuple):
    """argv: the files' flags, then those of the command line. origins: where the value of every flag that was set came from, by dest."""

    argv: list[str]
    origins: dict[str, str]


def expand(parser: argparse.ArgumentParser, argv: Sequence[str]) -> Expanded:
    """The command line with the flags of its --config files in front. Raises ValueError, in one line, for whatever is wrong in a file."""
    given = _given(parser, argv)
    merged: dict[str, tuple[Setting, list[str]]] = {}
    for path in given.pop("config") or []:
        # Two keys of one file may mean the same flag: alpha and deltal.alpha.
        seen: dict[str, Setting] = {}
        for setting in read(path):
            action = _action(parser, setting)
            if action.dest in seen:
                raise ValueError(
                    f"{setting.where}: {setting.key!r} is set twice, first as {seen[action.dest].key!r} in {seen[action.dest].where}"
                )
            seen[action.dest] = setting
            if setting.value is None:
                merged.pop(action.dest, None)
            else:
                merged[action.dest] = setting, _flags(parser, action, setting)
    origins = {dest: setting.where for dest, (setting, _) in merged.items()} | dict.fromkeys(given, COMMAND_LINE)
    return Expanded([flag for _, flags in merged.values() for flag in flags] + list(argv), origins)


def with_origin(message: str, origins: dict[str, str]) -> str:
    """The message "--FLAG is ...", and where the flag's value came from if that was a file."""
    key, _, said = message.removeprefix("--").partition(" ")
    where = origins.get("deltal.alpha" if key == "alpha" else key, COMMAND_LINE)
    if where == COMMAND_LINE or not said.startswith("is "):
        return message
    # Flags of one loss, under another that was asked for later.
    remedy = f"; `{key}: null` in a later --config file takes it back" if "it is allowed with" in said else ""
    return f"{message} (set in {where}{remedy})"


def read(path: str) -> list[Setting]:
    """The settings of a file in their order, nested keys joined by dots. Raises ValueError that names the file and the line."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if getattr(event, "tag", None):
                raise ValueError(
                    f"{path}:{event.start_mark.line + 1}: the tag {event.tag!r} has no meaning here; leave it out"
                )
        # The nodes and not the values: they know their lines, and nothing has guessed a type yet.
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise ValueError(f"--config {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"--config {path}: not UTF-8 text") from error
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or error
        line = f":{mark.line + 1}" if mark else ""
        raise ValueError(f"{path}{line}: not YAML: {problem}") from error
    if root is None:
        raise ValueError(f"{path}: holds no settings")
    if not isinstance(root, yaml.MappingNode):
        raise ValueError(f"{path}:{root.start_mark.line + 1}: settings are `flag: value` lines")
    return list(_settings(path, root, ()))


def _settings(path: str, node: yaml.MappingNode, above: tuple[str, ...]) -> Iterator[Setting]:
    seen: dict[str, str] = {}
    for key_node, value in node.value:
        where = f"{path}:{key_node.start_mark.line + 1}"
        if not (isinstance(key_node, yaml.ScalarNode) and key_node.value):
            raise ValueError(f"{where}: a key is the name of a flag, such as actor.adam.lr")
        names = (*above, key_node.value)
        key = ".".join(names)
        if key in seen:
            raise ValueError(f"{where}: {key} is there twice, first in {seen[key]}")
        seen[key] = where
        if len(names) > DEEPEST:
            raise ValueError(f"{where}: {key} is nested too deep for the name of a flag")
        if isinstance(value, yaml.MappingNode):
            yield from _settings(path, value, names)
        else:
            yield Setting(key, *_value(where, key, value), where)


def _value(where: str, key: str, node: yaml.Node) -> tuple[str | list[str] | None, bool]:
    if isinstance(node, yaml.SequenceNode):
        if not (node.value and all(isinstance(item, yaml.ScalarNode) for item in node.value)):
            raise ValueError(f"{where}: the list of {key!r} must hold single values, at least one")
        return [item.value for item in node.value], False
    plain = node.style is None
    if plain and node.value.lower() in ("null", "~"):
        return None, True
    if plain and not node.value:
        raise ValueError(f"{where}: {key!r} has no value; null stands for the default")
    return node.value, plain


def _action(parser: argparse.ArgumentParser, setting: Setting) -> argparse.Action:
    known = {name[2:]: action for name, action in parser._option_string_actions.items() if name.startswith("--")}
    for name in NOT_IN_FILES:
        known.pop(name, None)
    if setting.key not in known:
        if setting.key in NOT_IN_FILES:
            raise ValueError(f"{setting.where}: {setting.key!r} is for the command line only")
        raise ValueError(f"{setting.where}: unknown key {setting.key!r}; {_nearest(setting.key, known)}")
    return known[setting.key]


def _nearest(key: str, known: Iterable[str]) -> str:
    """The known keys that key may have been meant for: by their end or group, by their last name, as a whole."""
    key = key.lstrip("-").replace("learning_rate", "lr")
    if key in known:
        return f"the nearest known one is {key!r}"
    nearest = [name for name in known if name.endswith(f".{key}")] or [
        name for name in known if name.startswith(f"{key}.")
    ]
    if not nearest:
        *above, last = key.split(".")
        names = {name.rpartition(".")[2] for name in known}
        likely = difflib.get_close_matches(last, names, n=1)
        likely = likely or [name for name in names if last in name.split("_")]
        nearest = [name for name in known if name.rpartition(".")[2] in likely]
        # The same group first: rollout.temperatur is not eval.temperature.
        nearest = difflib.get_close_matches(key, nearest, n=1 if above else 3, cutoff=0)
    nearest = nearest or difflib.get_close_matches(key, known, n=1)
    nearest = nearest[:3]
    if not nearest:
        return "deltal train --help lists the known ones"
    return f"the nearest known {'one is' if len(nearest) == 1 else 'ones are'} {', '.join(map(repr, nearest))}"


def _flags(parser: argparse.ArgumentParser, action: argparse.Action, setting: Setting) -> list[str]:
    """The setting as words of the command line, checked by the parser."""
    flag, value = f"--{setting.key}", setting.value
    if action.nargs == 0:
        return _switch(parser, action, setting)
    if isinstance(value, list) and action.nargs is not None:
        words = [flag, *map(_plain_number, value)]
    else:
        words = [f"{flag}={','.join(value) if isinstance(value, list) else value}"]
    with _raising(parser):
        try:
            _, rest = parser.parse_known_args(words)
        except argparse.ArgumentError as error:
            raise ValueError(f"{setting.where}: {' '.join(str(error).split())}") from error
    if rest:
        raise ValueError(f"{setting.where}: {setting.key!r} takes {action.nargs} values, these are {len(value)}")
    return words


def _plain_number(text: str) -> str:
    """A negative number without an exponent: argparse takes -1e-1 for a flag."""
    if not text.startswith("-"):
        return text
    try:
        return f"{Decimal(text):f}"
    except InvalidOperation:
        return text


def _switch(parser: argparse.ArgumentParser, action: argparse.Action, setting: Setting) -> list[str]:
    """A flag without a value. What is off by default needs no word to be off."""
    word = setting.value.lower() if setting.plain else ""
    if word not in ("true", "false"):
        raise ValueError(
            f"{setting.where}: {setting.key!r} is {setting.value!r}, allowed are true and false, without quotes"
        )
    wanted = action.const if word == "true" else not action.const
    if wanted == action.default:
        return []
    return [next(a.option_strings[0] for a in parser._actions if a.dest == action.dest and a.const is wanted)]


def _given(parser: argparse.ArgumentParser, argv: Sequence[str]) -> dict:
    """The dests that the command line itself sets, with their values, and `config`. What it does not know is left to the real parse."""
    unset = object()
    blank = argparse.Namespace(**{action.dest: unset for action in parser._actions if action.dest != "config"})
    namespace, _ = parser.parse_known_args(list(argv), blank)
    return {dest: value for dest, value in vars(namespace).items() if value is not unset}


@contextmanager
def _raising(parser: argparse.ArgumentParser) -> Iterator[None]:
    """Inside, the parser raises ArgumentError instead of ending the process."""
    ends, parser.exit_on_error = parser.exit_on_error, False
    try:
        yield
    finally:
        parser.exit_on_error = ends
