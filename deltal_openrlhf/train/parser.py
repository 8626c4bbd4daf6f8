"""The parser of `deltal train` as an object: OpenRLHF's with our flags."""

import argparse
from collections.abc import Callable

from deltal_openrlhf.host import bindings, command_line
from deltal_openrlhf.train.flags import add_flags


class _Built(Exception):
    """Ends the host's command line once it has built its parser."""


def parser(
    prog: str = "deltal train", before: Callable[[argparse.ArgumentParser], None] = lambda hosts: None
) -> argparse.ArgumentParser:
    """before: gets the host's parser before our flags are on it."""
    found: list[argparse.ArgumentParser] = []

    def keep(parser: argparse.ArgumentParser) -> None:
        before(parser)
        add_flags(parser, prog)
        found.append(parser)
        raise _Built

    try:
        with bindings.parser_bound(keep, lambda namespace: None):
            command_line.parse()
    except _Built:
        pass
    return found[0]
