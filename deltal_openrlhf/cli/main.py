"""`deltal COMMAND`: hands the arguments to the command's own module."""

import importlib
import itertools
import sys
from collections.abc import Sequence
from typing import NamedTuple

from deltal_openrlhf import __version__
from deltal_openrlhf.runs import collector
from deltal_openrlhf.runs.reader import until_reader_leaves


class Command(NamedTuple):
    """module: has main(argv) -> exit status. about: a line for the help; commands that share one stand together."""

    module: str
    about: str


_STOCK = "let OpenRLHF's own command take ∆L's flags, or undo that"
GROUPS: dict[str, dict[str, Command]] = {
    "start and train": {
        "quickstart": Command("deltal_openrlhf.cli.quickstart", "train a small model with ∆L, on a CPU or one GPU"),
        "recipes": Command("deltal_openrlhf.cli.recipes", "list the shipped recipes, or print one"),
        "train": Command("deltal_openrlhf.train.launch", "OpenRLHF's PPO with ∆L: all its flags, --config, --alpha"),
        "plan": Command("deltal_openrlhf.cli.plan", "memory and layout of a large model with Megatron"),
    },
    "measure": {
        "eval": Command("deltal_openrlhf.cli.eval", "accuracy of a checkpoint, and the comparison of two"),
        "diagnose": Command("deltal_openrlhf.cli.diagnose", "bias and variance of each aggregation on your model"),
        "compare": Command("deltal_openrlhf.cli.compare", "training runs of several methods, with intervals"),
        "report": Command("deltal_openrlhf.cli.report", "one HTML page of training runs"),
    },
    "models, data and rewards": {
        "model": Command("deltal_openrlhf.cli.model", "make a small language model without a model hub"),
        "data": Command("deltal_openrlhf.cli.data", "make files of countdown, math or other problems"),
        "grade": Command("deltal_openrlhf.cli.grade", "grade a file of answers"),
        "serve-rewards": Command("deltal_openrlhf.cli.serve_rewards", "give rewards over HTTP"),
    },
    "environment": {
        "doctor": Command("deltal_openrlhf.cli.doctor", "what this machine lacks for a run"),
        "verify": Command("deltal_openrlhf.cli.verify", "does this machine compute the right update?"),
        "parity": Command("deltal_openrlhf.cli.parity", "is a sharded Megatron update that of one process?"),
        "enable": Command("deltal_openrlhf.cli.enable", _STOCK),
        "disable": Command("deltal_openrlhf.cli.disable", _STOCK),
        "completion": Command("deltal_openrlhf.cli.completion", "print a completion script for bash or zsh"),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}


def help_text() -> str:
    """At most 80 columns, and 23 lines: a terminal of 24 keeps one for its prompt."""
    lines = ["usage: deltal COMMAND [arguments]  |  deltal COMMAND --help  |  deltal --version"]
    for title, commands in GROUPS.items():
        lines.append(title)
        for about, names in itertools.groupby(commands, key=lambda name: COMMANDS[name].about):
            lines.append(f"  {', '.join(names):<17}{about}")
    return "\n".join([*lines, "example: deltal train --config countdown-deltal --dry_run"])


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    return until_reader_leaves(lambda: _run(argv))


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(help_text())
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"deltal {__version__}")
        return 0
    if argv[0] not in COMMANDS:
        print(f"deltal: {unknown_command(argv[0])}", file=sys.stderr)
        return 2
    collector.rest_in_imports()
    try:
        # Imported here: doctor has to run where train cannot.
        return importlib.import_module(COMMANDS[argv[0]].module).main(argv[1:]) or 0
    except ModuleNotFoundError as error:
        from deltal_openrlhf.runs.packages import remedy

        if (how := remedy(error.name or "")) is None:
            raise
        print(f"deltal {argv[0]}: error: {error.name} is not installed: {how}", file=sys.stderr)
        return 2


def unknown_command(name: str) -> str:
    from deltal_openrlhf.runs.command import nearest

    return f"unknown command {name!r}; {nearest(name, COMMANDS) or '`deltal --help` lists them'}"


if __name__ == "__main__":
    sys.exit(main())
