"""`deltal completion`: a completion script for bash or zsh, made by shtab from the parsers of all commands.

The script is static: completing a word starts no Python. It knows the flags of the host that is installed when it is made.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

import shtab

from deltal_openrlhf.cli.main import COMMANDS
from deltal_openrlhf.runs import shipped
from deltal_openrlhf.runs.command import OneLineParser
from deltal_openrlhf.runs.packages import installed_version

PROG = "deltal completion"
SHELLS = ("bash", "zsh")
NAMES = "NAME_OR_FILE"
"""The metavar of what takes a shipped file by its name."""
EPILOG = """\
Start a new shell afterwards. For zsh, write the script to a file named _deltal in a folder of $fpath.

  deltal completion bash > ~/.local/share/bash-completion/completions/deltal
"""


def parser() -> OneLineParser:
    made = OneLineParser(
        prog=PROG,
        usage="deltal completion bash|zsh",
        description="Print a script that completes commands, flags and the names of recipes with the Tab key.",
        epilog=EPILOG,
    )
    made.add_argument("shell", choices=SHELLS, help="the shell")
    return made


def main(argv: Sequence[str]) -> int:
    shell = parser().parse_args(argv).shell
    print(shtab.complete(whole_parser(), shell))
    return 0


def whole_parser() -> argparse.ArgumentParser:
    """One parser with every command as a subcommand."""
    top = argparse.ArgumentParser(prog="deltal")
    top.add_argument("--version", action="store_true", help="print the version")
    parsers = {f"deltal {name}": _parser_of(name) for name in COMMANDS}
    # A function in place of a class: it makes the parsers that are there already.
    commands = top.add_subparsers(parser_class=lambda prog, **_: parsers[prog])  # type: ignore[call-overload]
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.about)
    return top


def _parser_of(name: str) -> argparse.ArgumentParser:
    if name != "train":
        made = importlib.import_module(COMMANDS[name].module).parser()
    elif installed_version("openrlhf"):
        from deltal_openrlhf.train.parser import parser as of_train

        made = of_train()
    else:
        print(f"{PROG}: OpenRLHF is not installed, so the flags of deltal train are left out", file=sys.stderr)
        made = OneLineParser(prog="deltal train")
    for action in made._actions:
        if action.metavar == NAMES:
            action.choices = list(shipped.names())
    return made
