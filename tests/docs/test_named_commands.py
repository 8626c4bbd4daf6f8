"""Every command, flag and default that README and docs name exists: the real parsers read them."""

import argparse
import contextlib
import functools
import importlib
import io
import re
from pathlib import Path

import pytest
from support.pages import DOCS, README, ROOT, blocks, deltal_words, inline_code, simple_commands, statements, tables
from support.recipe_settings import host_parser

from deltal_openrlhf.cli.main import COMMANDS
from deltal_openrlhf.runs import shipped
from deltal_openrlhf.runs.command import flags_of

PAGES = [README, *DOCS]
OF_OTHERS = {
    "--nodes",  # sbatch
    "--signal",
    "--requeue",
    "--no-deps",  # pip
    "--global-batch-size",  # slime
    "--custom-convert-samples-to-train-data-path",
    "--advantage-estimator",
    "--calculate-per-token-loss",
    "--normalize-advantages",
    "--use-opd",
    "--custom-advantage-function-path",
    "--flash-attn",  # scripts/setup.sh
    "--transformer-engine",
}
"""Flags of programs that are not ours."""
FLAG = re.compile(r"(?<![\w-])--[a-zA-Z][\w.-]*")
SHIPPED = re.compile(r"(?:compare|models|overlays)/[\w./-]+")


@functools.cache
def parser_of(command: str) -> argparse.ArgumentParser:
    return host_parser() if command == "train" else importlib.import_module(COMMANDS[command].module).parser()


def fault(words: list[str], *, whole: bool) -> str | None:
    """What is wrong with the arguments of `deltal`. whole: they are all that the command needs."""
    if not words or words[0].startswith("--"):
        return None if words in ([], ["--help"], ["--version"]) else f"deltal has no flag {words[0]}"
    if words[0] not in COMMANDS:
        return f"there is no command {words[0]}"
    parser = parser_of(words[0])
    flags = [word.partition("=")[0] for word in words if FLAG.match(word)]
    if unknown := [flag for flag in flags if flag not in flags_of(parser)]:
        return f"deltal {words[0]} has no {unknown[0]}"
    names = [
        name for before, name in zip(words, words[1:], strict=False) if before == "--config" and words[0] != "data"
    ]
    for name in [*(n for n in names if not n.endswith(".yaml")), *filter(SHIPPED.fullmatch, words)]:
        if shipped.find(name) is None and name not in made_by_pages():
            return f"there is no recipe {name}"
    if not whole or "--help" in words:
        return None
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parser.parse_args(words[1:])
    except (SystemExit, ValueError) as stop:
        return f"{said.getvalue()}{stop}"
    return None


@functools.cache
def made_by_pages() -> set[str]:
    """Folders that the pages' own commands make."""
    text = "".join(text for page in PAGES for _, text in blocks(page, "sh"))
    return set(re.findall(r"--out (\S+)", text))


def faults_of_blocks(page: Path) -> list[tuple[str, str, str]]:
    found = []
    for where, text in blocks(page, "sh"):
        for statement in statements(text):
            for command in simple_commands(statement):
                words = deltal_words(command)
                said = fault(words, whole="..." not in statement) if words is not None else script_fault(command)
                found += [(where, " ".join(command), said)] if said else []
    return found


def script_fault(command: list[str]) -> str | None:
    """What is wrong with a command that runs a file of scripts/: the file is not there, or never names one of these flags."""
    file = next((word for word in command[:2] if word.startswith("scripts/")), None)
    if file is None:
        return None
    if not (ROOT / file).is_file():
        return f"there is no {file}"
    text = (ROOT / file).read_text(encoding="utf-8")
    return next((f"{file} has no {flag}" for flag in filter(FLAG.match, command) if flag not in text), None)


@functools.cache
def known_flags() -> set[str]:
    scripts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "scripts").rglob("*.py"))
    return OF_OTHERS.union(
        *(flags_of(parser_of(command)) for command in COMMANDS), re.findall(r"\"(--[\w-]+)\"", scripts)
    )


def faults_of_inline_code(page: Path) -> list[tuple[str, str, str]]:
    found = []
    for where, text in inline_code(page):
        for command in simple_commands(text) if text.startswith("deltal ") else ():
            # `deltal eval|diagnose`, `deltal COMMAND` stand for several.
            if (
                said := fault(command[1:], whole=False)
                if command[0] == "deltal" and command[1:2] != ["COMMAND"]
                else None
            ):
                found.append((where, text, said))
        if "setup.sh" in text:
            continue
        for flag in FLAG.findall(text):
            name = flag.rstrip(".-")
            # `--megatron.*` stands for several.
            known = any(f.startswith(name) for f in known_flags()) if f"{name}.*" in text else name in known_flags()
            ours = name.replace("-", "_").replace("__", "--", 1)
            if not known or (name != ours and ours in known_flags()):
                found.append((where, text, f"{name} is no flag"))
    return found


def faults_of_defaults(page: Path) -> list[tuple[str, str, str]]:
    """Tables of flags with a column of defaults, and `--flag` (default 4)."""
    stated: list[tuple[str, str, str]] = []
    for header, rows in tables(page):
        if [cell.lower() for cell in header[:2]] == ["flag", "default"]:
            for where, (names, values, *_) in rows:
                stated += zip_defaults(where, re.findall(r"`(--[\w.]+)[^`]*`", names), values)
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        for flag, value in re.findall(r"`(--[\w.]+)[^`]*`,? \(?default `?([\d.,]*\d)\b", line):
            stated.append((f"{page.name}:{number}", flag, value))
    return [(where, flag, value) for where, flag, value in stated if not is_default(flag, value)]


def zip_defaults(where: str, flags: list[str], values: str) -> list[tuple[str, str, str]]:
    """A cell that says more than a value is prose."""
    parts = [part.strip("` ") for part in (values.split(", ") if len(flags) > 1 else [values])]
    plain = [part for part in parts if re.fullmatch(r"\S*( s)?", part)]
    return [(where, flag, part) for flag, part in zip(flags, plain, strict=True)] if plain else []


def is_default(flag: str, value: str) -> bool:
    """Whether some command has this flag with this default. The parser or its help text says it; none is written as an empty cell."""
    stated = value.replace(",", "").removesuffix(" s")
    named = [action for command in COMMANDS for action in actions(parser_of(command)) if flag in action.option_strings]
    in_help = rf"\bdefault (?:is )?{re.escape(stated)}\b"
    return any(stated == plain_default(a) or (stated and re.search(in_help, a.help or "")) for a in named)


def plain_default(action: argparse.Action) -> str:
    if action.default in (None, argparse.SUPPRESS):
        return ""
    if action.default is False:
        return "off"
    return f"{action.default:g}" if isinstance(action.default, float) else str(action.default)


def actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    found = list(parser._actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += [inner for task in action.choices.values() for inner in actions(task)]
    return found


CHECKS = (faults_of_blocks, faults_of_inline_code, faults_of_defaults)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_what_pages_name_exists(check):
    assert [found for page in PAGES for found in check(page)] == []


def test_what_does_not_exist_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("""\
`--alhpa 1`, `deltal trian --alpha 1`, `deltal grade --alpha 1`, `--dry-run`, `--max_chars` (default 3), `--megatrno.*`

| flag | default |
|---|---|
| `--deadline` | 4 s |
| `--memory_mb`, `--workers` | 1,024, 2 |

```sh
deltal grade a.jsonl --worker 2 > b   # no such flag
deltal grade --workers 2
deltal train --config countdown-deltla --alpha 1
deltal train --alpha one
deltal recipes models/qwen && deltal traim
RAY_ADDRESS=auto deltal train --config math-deltal \\
    --alhpa 1
sbatch --nodes 2 scripts/cluster/train.sbatch --config math-deltal --dryrun
python scripts/nothing.py
python scripts/make_reference.py --chek
deltal train ... --alpha 1 <every other flag>
```
""")
    assert [said for _, _, said in faults_of_inline_code(page)] == [
        "--alhpa is no flag",
        "there is no command trian",
        "deltal grade has no --alpha",
        "--dry-run is no flag",
        "--megatrno is no flag",
    ]
    assert [(flag, value) for _, flag, value in faults_of_defaults(page)] == [
        ("--deadline", "4 s"),
        ("--max_chars", "3"),
    ]
    said = [said for _, _, said in faults_of_blocks(page)]
    assert [line.strip() for line in said if "\n" not in line.strip()][:1] == ["deltal grade has no --worker"]
    wanted = [
        "no --worker",
        "required: FILE",
        "recipe countdown-deltla",
        "argument --alpha/--deltal.alpha: it is 'one', allowed are a number from 0 to 1, and auto",
        "recipe models/qwen",
    ]
    wanted += ["no command traim", "no --alhpa", "no --dryrun", "no scripts/nothing.py", "no --chek"]
    assert len(said) == len(wanted)
    assert [part for part, line in zip(wanted, said, strict=True) if part not in line] == []
