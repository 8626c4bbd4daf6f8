"""Makes docs/reference/commands.md, flags.md, metrics.md and the lower part of api.md from the code.

    python scripts/make_reference.py [--check]

--check  writes nothing, names the pages that are not what the code says, and ends with 1 if there is one
"""

import argparse
import ast
import importlib
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import deltal_openrlhf
from deltal_openrlhf import aggregation, modes
from deltal_openrlhf.cli.main import COMMANDS, help_text
from deltal_openrlhf.runs import metric_names
from deltal_openrlhf.train.parser import parser as train_parser

PAGES = Path(__file__).parents[1] / "docs" / "reference"
WIDTH = 80
"""Columns of a help text."""
MADE = "<!-- Made by python scripts/make_reference.py. -->"


# ── Commands ──


def commands_page() -> Iterator[str]:
    yield f"# Commands\n\n{MADE}\n\nThis is what `deltal COMMAND --help` prints. A flag may have hyphens for underscores."
    yield _block(help_text())
    for name, command in COMMANDS.items():
        if name == "train":
            yield "## deltal train\n\nIt takes every flag of OpenRLHF: `deltal train --help` shows them."
            yield "[Flags](flags.md) lists those that this package adds."
        else:
            yield from _sections(importlib.import_module(command.module).parser(), "##")


def _sections(parser: argparse.ArgumentParser, level: str) -> Iterator[str]:
    yield f"{level} {parser.prog}\n\n{_block(parser.format_help())}"
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for task in action.choices.values():
                yield from _sections(task, f"{level}#")


def _block(text: str) -> str:
    return f"```text\n{text.strip()}\n```"


# ── Flags of deltal train ──


def flag_groups() -> Iterator[tuple[argparse._ArgumentGroup, list[argparse.Action]]]:
    """The argument groups that our flags are in, and these flags."""
    host: list[argparse.Action] = []
    for group in train_parser(before=lambda hosts: host.extend(hosts._actions))._action_groups:
        if ours := [action for action in group._group_actions if action not in host]:
            yield group, ours


def flags_page() -> Iterator[str]:
    yield f"# Flags of deltal train\n\n{MADE}\n\nThese flags come on top of OpenRLHF's own, which `deltal train --help` shows too."
    for group, flags in flag_groups():
        title = (group.title or "").strip()
        yield f"## {title[0].upper()}{title[1:]}\n\n{_sentence(group.description or '')}"
        yield _table(("Flag", "Meaning"), [(_flag(flag), _meaning(flag)) for flag in flags])


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{_marked(text[1:])}." if text else ""


def _flag(action: argparse.Action) -> str:
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    if action.choices is not None:
        return f"{names}: {', '.join(f'`{choice}`' for choice in action.choices)}"
    if action.nargs == 0:
        return names
    value = action.metavar or getattr(action.type, "__name__", "TEXT").removeprefix("_").upper()
    return f"{names} `{value}`"


def _meaning(action: argparse.Action) -> str:
    text = argparse.HelpFormatter("")._expand_help(action)
    default = action.default
    if default not in (None, False, argparse.SUPPRESS) and "default" not in text:
        text += f"; default {default}"
    return _marked(text)


def _marked(text: str) -> str:
    """Flags as code, and pages next to this one as links."""
    text = re.sub(r"(?<![`\w])(--[\w.]*(?:\.\*|\w))(?!`)", r"`\1`", text)
    return re.sub(r"docs/reference/([\w-]+\.md)", r"[\1](\1)", text)


# ── Metrics ──


def metrics_page() -> Iterator[str]:
    yield f"# Metrics\n\n{MADE}\n\nA run writes `metrics.jsonl` and `evals.jsonl` into `--ckpt.output_dir`."
    yield "TensorBoard and wandb get the same names. A mean over responses or tokens is one over the whole rollout batch or optimizer step."
    for title, (about, metrics) in metric_names.GROUPS.items():
        yield f"## {title}\n\n{about}"
        yield _table(
            ("Name", "Unit", "Meaning"), [(f"`{name}`", unit, _marked(mean)) for name, (unit, mean) in metrics.items()]
        )


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


# ── Python API ──

SECTION = re.compile(r"^(Args|Attributes|Returns|Raises):\n((?:    .*\n?|\n)+)", re.M)
"""A section of a docstring, with its indented lines."""
ITEM = re.compile(r"^    (\w+): (.*(?:\n     +.*)*)", re.M)
"""What a section says of one name."""


def api_page() -> Iterator[str]:
    """What is above MADE is written by hand."""
    yield (PAGES / "api.md").read_text(encoding="utf-8").partition(MADE)[0] + MADE
    yield f"## The formulas\n\n{inspect.getdoc(aggregation)}"
    about = _docstrings_of_constants()
    for name in deltal_openrlhf.__all__:
        value = getattr(deltal_openrlhf, name)
        if isinstance(value, type):
            yield from _with_docstring("##", f"class {name}", value)
            for method, function in vars(value).items():
                if inspect.isfunction(function) and not method.startswith("_"):
                    yield from _with_docstring("###", f"{name}.{method}", function)
                elif isinstance(function, property):
                    yield f"### `{name}.{method}`\n\n{inspect.getdoc(function)}"
        elif callable(value):
            yield from _with_docstring("##", name, value)
        elif not name.startswith("__"):
            values = ", ".join(map(json.dumps, value))  # ruff formats Python in pages too
            yield f"## `{name}`\n\n{_code(f'{name} = ({values})')}\n\n{about[name]}"


def _docstrings_of_constants() -> dict[str, str]:
    """The text below each constant of modes.py, by its name."""
    return {
        before.targets[0].id: after.value.value
        for before, after in pairwise(ast.parse(inspect.getsource(modes)).body)
        if isinstance(before, ast.Assign) and isinstance(before.targets[0], ast.Name)
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    }


def _with_docstring(level: str, name: str, value: Callable) -> Iterator[str]:
    yield f"{level} `{name.removeprefix('class ')}`\n\n{_code(name + _signature(value, len(name)))}"
    yield SECTION.sub(_listed, inspect.getdoc(value) or "").strip()


def _signature(value: Callable, indent: int) -> str:
    """With a parameter on each line, if it is too long for one."""
    signature = inspect.signature(value)
    given = [parameter for parameter in signature.parameters.values() if parameter.name != "self"]
    parameters = [str(parameter) for parameter in given]
    positional = sum(parameter.kind != parameter.KEYWORD_ONLY for parameter in given)
    if positional < len(given):
        parameters.insert(positional, "*")
    result = "" if isinstance(value, type) else f" -> {inspect.formatannotation(signature.return_annotation)}"
    line = _short_types(f"({', '.join(parameters)}){result}")
    if indent + len(line) <= WIDTH:
        return line
    return _short_types("(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + f"){result}")


def _short_types(text: str) -> str:
    return re.sub(r"\b(?:\w+\.)+(?=[A-Z])", "", text)


def _code(text: str) -> str:
    """The docs' blocks of `python` run, and this one does not."""
    return f"```py\n{text}\n```"


def _listed(section: re.Match[str]) -> str:
    """A section of a docstring as a list."""
    title, text = section.groups()
    items = [f"- `{name}`: {_joined(meaning)}" for name, meaning in ITEM.findall(text)]
    return f"**{title}**\n\n" + ("\n".join(items) if items else _joined(text)) + "\n\n"


def _joined(text: str) -> str:
    return " ".join(text.split())


def main() -> int:
    parser = argparse.ArgumentParser(usage="python scripts/make_reference.py [--check]")
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    os.environ["COLUMNS"] = str(WIDTH)
    wrong = []
    made = {"commands": commands_page, "flags": flags_page, "metrics": metrics_page, "api": api_page}
    for name, parts in made.items():
        page, text = PAGES / f"{name}.md", "\n\n".join(parts()) + "\n"
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            wrong.append(page.name)
            if not check:
                page.write_text(text, encoding="utf-8")
    if check and wrong:
        print(
            f"docs/reference: {', '.join(wrong)} differ from the code; make them again: python scripts/make_reference.py"
        )
    return 1 if check and wrong else 0


if __name__ == "__main__":
    sys.exit(main())
