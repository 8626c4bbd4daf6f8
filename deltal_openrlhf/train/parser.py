"""The parser of `deltal train` as an object: OpenRLHF's with our flags. It imports the host, which takes seconds."""

import argparse
import runpy

from deltal_openrlhf import cpu
from deltal_openrlhf.host import bindings, process
from deltal_openrlhf.train.flags import add_flags


class _Built(Exception):
    """Ends the host's command line once it has built its parser."""


def parser(prog: str = "deltal train") -> argparse.ArgumentParser:
    found: list[argparse.ArgumentParser] = []

    def keep(parser: argparse.ArgumentParser) -> None:
        add_flags(parser, prog)
        found.append(parser)
        raise _Built

    cpu.set_environment()
    process.prepare()
    try:
        with bindings.parser_bound(keep, lambda namespace: None):
            runpy.run_module(bindings.CLI_MODULE, run_name="__main__")
    except _Built:
        pass
    return found[0]
