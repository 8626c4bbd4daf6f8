"""Restarts `python -m openrlhf.cli.train_ppo_ray ...` as `python -m deltal_openrlhf.train_ppo_ray ...`, in the same process.

The .pth file of `deltal enable` imports this when Python starts; standard library only.
"""

import os
import sys

HOST_MODULE = "openrlhf.cli.train_ppo_ray"
OUR_MODULE = "deltal_openrlhf.train_ppo_ray"


def pth_line(module: str, function: str) -> str:
    """A line for a .pth file, which Python runs when it starts: calls function() of module where the host's module is to run."""
    # Such a line starts with `import` and is a single statement list.
    return (
        f'import sys; sys.argv[0] == "-m" and any(a.endswith("{HOST_MODULE}") for a in sys.orig_argv) '
        f'and __import__("{module}", fromlist=["{function}"]).{function}()\n'
    )


def redirected(orig_argv: list[str], argv: list[str]) -> list[str] | None:
    """orig_argv with our module for the host's; None unless the interpreter was started to run the host's module.

    argv is sys.argv as it is while Python starts: ["-m", *the module's arguments], so the module is the last thing before those.
    """
    if argv[:1] != ["-m"]:
        return None
    before, arguments = orig_argv[: len(orig_argv) - len(argv) + 1], argv[1:]
    # In an argument of its own (-m NAME, -um NAME), or glued to its option (-mNAME).
    option = before[-1].removesuffix(HOST_MODULE)
    if option == before[-1] or (option and not (option.startswith("-") and option.endswith("m"))):
        return None
    return [*before[:-1], option + OUR_MODULE, *arguments]


def restart() -> None:
    """Replace this process if it is about to run the host's module; return otherwise."""
    command = redirected(sys.orig_argv, sys.argv)
    if command is not None:
        os.execv(sys.executable, [sys.executable, *command[1:]])
