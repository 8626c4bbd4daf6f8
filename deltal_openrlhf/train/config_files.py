"""Flags of the command line, kept in files: --config NAME_OR_FILE. runs/shipped.py finds the files of this package by name.

    loss_agg: deltal                         # --loss_agg deltal
    actor.adam.betas: [0.9, 0.999]           # --actor.adam.betas 0.9 0.999
    rollout: {batch_size: 128, top_p: 1.0}   # --rollout.batch_size 128 --rollout.top_p 1.0
    ds.enable_sleep: true                    # --ds.enable_sleep; false takes back what an earlier file has set
    eval.dataset: [a.jsonl, b.jsonl]         # --eval.dataset a.jsonl,b.jsonl
    alpha: null                              # the default, whatever an earlier file says

A later file replaces single values of an earlier one. Flags of the command line win over all files. Every value is text here, as on the
command line. The parser that owns the flag converts it and says what is allowed. YAML alone would read 1e-6 as text and off as a boolean.
"""

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from deltal_openrlhf.runs.command import flags_of, nearest_flag, underscored
from deltal_openrlhf.runs.faults import Faults, Unusable
from deltal_openrlhf.runs.yaml_values import dotted, read_with_lines
from deltal_openrlhf.train.command_words import raising, spellings

NOT_IN_FILES = ("config", "dry_run", "help")
COMMAND_LINE = "command line"
_IS = re.compile(r"(?:^|, )--(?P<key>\S+) is ")
_NAMED = re.compile(r"'([\w.]+)'")


class Setting(NamedTuple):
    """One line of a file.

    value: text, a list of texts, or None for null. plain: the value has no quotes, so true and false are booleans.
    """

    key: str
    value: str | list[str] | None
    plain: bool
    where: str


class Expanded(NamedTuple):
    """The command line after the files were read.

    argv: the files' flags, then those of the command line. origins: the place that set each flag, by dest.
    """

    argv: list[str]
    origins: dict[str, str]


def expand(parser: argparse.ArgumentParser, argv: Sequence[str], faults: Faults | None = None) -> Expanded:
    """Put the flags of the --config files in front of those of the command line.

    faults: gets the faults of single settings, which are then left out. Raises ValueError, without it for any fault, else for files that
    cannot be read.
    """
    argv = underscored(argv, flags_of(parser))
    given = _given(parser, argv)
    merged: dict[str, tuple[Setting, list[str]]] = {}
    found = Faults() if faults is None else faults
    unread = Faults()
    for name in given.pop("config") or []:
        # Two keys of one file may mean the same flag: alpha and deltal.alpha.
        seen: dict[str, Setting] = {}
        with unread.gathered():
            for setting in read(name):
                try:
                    _merge(parser, setting, merged, seen)
                except ValueError as error:
                    found.add(Unusable(str(error), _meant(parser, setting, str(error))))
    unread.refuse()
    if faults is None:
        found.refuse()
    origins = {dest: setting.where for dest, (setting, _) in merged.items()} | dict.fromkeys(given, COMMAND_LINE)
    return Expanded([flag for _, flags in merged.values() for flag in flags] + argv, origins)


def _meant(parser: argparse.ArgumentParser, setting: Setting, error: str) -> list[str]:
    """The flags, with dashes, whose value is not known after a fault of a setting: of an unknown key the nearest ones."""
    action = parser._option_string_actions.get(f"--{setting.key}")
    return spellings(parser, action) if action else [f"--{key}" for key in _NAMED.findall(error)]


def _merge(
    parser: argparse.ArgumentParser,
    setting: Setting,
    merged: dict[str, tuple[Setting, list[str]]],
    seen: dict[str, Setting],
) -> None:
    """Put a setting of a file over those before it. seen: the file's own ones so far. Raises ValueError, in one line."""
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


def with_origin(message: str, origins: Mapping[str, str]) -> str:
    """The message "--FLAG is ...", with the place of the flag's value if a file set it; so for "--FLAG is ..., --FLAG is ..., but"."""
    keys = [match["key"] for match in _IS.finditer(message.partition(", but ")[0])] if _IS.match(message) else []
    dests = {key: "deltal.alpha" if key == "alpha" else key for key in keys}
    places = {key: where for key, dest in dests.items() if (where := origins.get(dest, COMMAND_LINE)) != COMMAND_LINE}
    if not places:
        return message
    remedy = ""
    if "is allowed with" in message:  # flags of one loss, under another that was asked for later
        nulls = ", ".join(f"`{key}: null`" for key in places)
        remedy = f"; {nulls} in a later --config file {'takes it' if len(places) == 1 else 'take them'} back"
    where = ", ".join(places.values() if len(keys) == 1 else (f"{place} (--{key})" for key, place in places.items()))
    return f"{message} (set in {where}{remedy})"


def read(name: str) -> Iterator[Setting]:
    """Read the settings of a file, shipped or not, in their order. Dots join nested keys.

    Raises ValueError that names the file and the line.
    """
    for key, value in dotted(read_with_lines(name)):
        if isinstance(value.content, list):
            texts = [item.content for item in value.content if isinstance(item.content, str)]
            if not texts or len(texts) < len(value.content):
                raise ValueError(f"{value.where}: the list of {key!r} must hold single values, at least one")
            yield Setting(key, texts, value.plain, value.where)
        elif value.plain and not value.content:
            raise ValueError(f"{value.where}: {key!r} has no value; null stands for the default")
        else:
            is_null = value.plain and value.content in ("null", "Null", "NULL", "~")
            yield Setting(key, None if is_null else str(value.content), value.plain, value.where)


def _action(parser: argparse.ArgumentParser, setting: Setting) -> argparse.Action:
    known = {name[2:]: action for name, action in parser._option_string_actions.items() if name.startswith("--")}
    for name in NOT_IN_FILES:
        known.pop(name, None)
    if setting.key not in known:
        if setting.key in NOT_IN_FILES:
            raise ValueError(f"{setting.where}: {setting.key!r} is for the command line only")
        near = nearest_flag(setting.key, known) or "deltal train --help lists the known ones"
        raise ValueError(f"{setting.where}: unknown key {setting.key!r}; {near}")
    return known[setting.key]


def _flags(parser: argparse.ArgumentParser, action: argparse.Action, setting: Setting) -> list[str]:
    """Turn the setting into words of the command line, checked by the parser."""
    if action.nargs == 0:
        return _switch(parser, action, setting)
    values = setting.value if isinstance(setting.value, list) else [str(setting.value)]
    if isinstance(setting.value, list) and action.nargs is not None:
        words = [f"--{setting.key}", *map(_plain_number, values)]
    else:
        words = [f"--{setting.key}={','.join(values)}"]
    with raising(parser):
        try:
            _, rest = parser.parse_known_args(words)
        except argparse.ArgumentError as error:
            raise ValueError(f"{setting.where}: {' '.join(str(error).split())}") from error
    if rest:
        raise ValueError(f"{setting.where}: {setting.key!r} takes {action.nargs} values, these are {len(values)}")
    return words


def _plain_number(text: str) -> str:
    """Write a negative number without an exponent, because argparse takes -1e-1 for a flag."""
    if not text.startswith("-"):
        return text
    try:
        return f"{Decimal(text):f}"
    except InvalidOperation:
        return text


def _switch(parser: argparse.ArgumentParser, action: argparse.Action, setting: Setting) -> list[str]:
    """The words of a flag that takes no value. There are none where the flag stays at its default, off."""
    word = str(setting.value).lower() if setting.plain else ""
    if word not in ("true", "false"):
        raise ValueError(
            f"{setting.where}: {setting.key!r} is {setting.value!r}, allowed are true and false, without quotes"
        )
    wanted = action.const if word == "true" else not action.const
    if wanted == action.default:
        return []
    return [next(a.option_strings[0] for a in parser._actions if a.dest == action.dest and a.const is wanted)]


def _given(parser: argparse.ArgumentParser, argv: Sequence[str]) -> dict[str, Any]:
    """The dests that the command line itself sets, with their values, and `config`. Unknown flags are left to the real parse."""
    unset = object()
    dests = {action.dest for action in parser._actions if action.dest != "config"}
    blank = argparse.Namespace(
        **dict.fromkeys(dests | set(parser._defaults), unset)
    )  # set_defaults() takes names of no flag too
    namespace, _ = parser.parse_known_args(list(argv), blank)
    return {dest: value for dest, value in vars(namespace).items() if value is not unset}
