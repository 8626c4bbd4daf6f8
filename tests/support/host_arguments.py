"""The host's arguments of a command line, for tests that need them."""

from types import SimpleNamespace

from deltal_openrlhf.host import command_line
from deltal_openrlhf.train.parser import parser


def host_arguments(*flags: str) -> SimpleNamespace:
    """Hierarchical arguments as the host makes them of these flags, with ours on its parser."""
    return command_line.hierarchize(parser().parse_args(flags))
