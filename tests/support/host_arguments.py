"""The host's real parser, read out of its command line module, for tests that need its arguments."""

import argparse
import runpy
from types import SimpleNamespace

from deltal_openrlhf.host import bindings
from deltal_openrlhf.train.flags import add_flags


class Parsed(Exception):
    """Ends the host's command line once its flags are read and checked by the host itself."""


def host_arguments(*flags: str) -> SimpleNamespace:
    """Hierarchical arguments as the host makes them of these flags, with ours on its parser."""
    import sys

    from openrlhf.utils.config import hierarchize

    caught: list[argparse.Namespace] = []

    def check(namespace: argparse.Namespace) -> None:
        caught.append(namespace)
        raise Parsed

    argv, sys.argv = sys.argv, ["train_ppo_ray", *flags]
    try:
        with bindings.parser_bound(lambda parser: add_flags(parser, "deltal train"), check):
            runpy.run_module(bindings.CLI_MODULE, run_name="__main__")
    except Parsed:
        return hierarchize(caught[0])
    finally:
        sys.argv = argv
    raise AssertionError("the host's command line did not parse its flags")
