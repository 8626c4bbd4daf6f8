"""`deltal recipes`: the shipped files by name, or one of them as it is."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from deltal_openrlhf.runs import shipped
from deltal_openrlhf.runs.command import OneLineParser

EPILOG = """\
  deltal recipes countdown-deltal > mine.yaml
  deltal train --config mine.yaml --dry_run
"""
KINDS = {
    "": ("recipes", "deltal train --config NAME"),
    "overlays": ("other hardware and models, after a recipe", "deltal train --config RECIPE --config NAME"),
    "compare": ("comparisons", "deltal compare NAME"),
    "models": ("sizes of models", "deltal plan --model NAME"),
}
"""Folder of configs/ -> what its files are, and the command that takes them."""


def parser() -> OneLineParser:
    made = OneLineParser(
        prog="deltal recipes",
        usage="deltal recipes [NAME]",
        description="List the shipped recipes, or print one. Every command takes them by name, in any folder.",
        epilog=EPILOG,
    )
    made.add_argument("name", nargs="?", metavar="NAME_OR_FILE", help="print this file: a start for one of your own")
    return made


def main(argv: Sequence[str]) -> int:
    command = parser()
    name = command.parse_args(argv).name
    if name is None:
        print("\n".join(listing()))
        return 0
    try:
        text = shipped.located(name).read_text(encoding="utf-8")
    except ValueError as error:
        command.error(str(error))
    sys.stdout.write(text)
    return 0


def listing() -> Iterator[str]:
    """Each name with the first line of its file."""
    names = shipped.names()
    width = max(map(len, names))
    for folder, (title, usage) in KINDS.items():
        yield f"{title}: {usage}"
        for name, path in names.items():
            if (name.partition("/")[0] if "/" in name else "") == folder:
                yield f"  {name:<{width}}  {_about(path)}".rstrip()


def _about(path: Path) -> str:
    """The first line of a recipe, the first sentence of another file. JSON says nothing."""
    line = path.read_text(encoding="utf-8").partition("\n")[0]
    if not line.startswith("# "):
        return ""
    said = line if path.parent == shipped.folder() else line.partition(". ")[0]
    return said.removeprefix("# ").rstrip(".")
