"""What is wrong with the files of a command line, said before torch and the host are imported, which takes seconds.

Only what can be seen without the host's parser. All the rest is for later; what is looked at here is looked at there again.
"""

import argparse
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NoReturn

from deltal_openrlhf.runs.command import flags_of, underscored
from deltal_openrlhf.runs.redaction import redacted
from deltal_openrlhf.train import config_files, gpus
from deltal_openrlhf.train.data_files import missing_files

READ = (
    *("data.prompt_dataset", "eval.dataset", "reward.remote_url", "train.agent_func_path"),
    *("actor.model_name_or_path", "rollout.max_new_tokens", "data.max_len"),
)
"""What missing_files reads: flags that name files, and those of the command that makes them."""
MAX_LEN = 2048
"""The host's default of --data.max_len."""


def refused(argv: Sequence[str], prog: str = "deltal train") -> bool:
    """Whether there is something wrong; it has been said then, in one line on stderr."""
    try:
        _check(argv)
    except ValueError as error:
        print(f"{prog}: error: {redacted(' '.join(str(error).split()))}", file=sys.stderr, flush=True)
        return True
    return False


class _Parser(argparse.ArgumentParser):
    """The flags that are read here, in full. Words that it does not understand are left to the host's parser."""

    def __init__(self) -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        self.add_argument("--config", action="append", default=[])
        self.add_argument("--dry_run", action="store_true")
        self.add_argument("-h", "--help", action="store_true", dest="help")
        for name in READ:
            self.add_argument(f"--{name}", dest=name)

    def error(self, message: str) -> NoReturn:
        raise argparse.ArgumentError(None, message)


def _check(argv: Sequence[str]) -> None:
    """Raise ValueError for a file of settings that is missing or broken, and in a real start for missing files that flags name."""
    try:
        parser = _Parser()
        given, _ = parser.parse_known_args(underscored(argv, flags_of(parser)))
    except argparse.ArgumentError:
        return
    values: dict[str, str | None] = dict.fromkeys(READ)
    for path in given.config:
        for setting in config_files.read(path):
            if setting.key in values:
                values[setting.key] = ",".join(setting.value) if isinstance(setting.value, list) else setting.value
    if not (given.dry_run or given.help):
        values |= {name: value for name in READ if (value := getattr(given, name)) is not None}
        missing = missing_files(_hierarchical(values), of_workers=not gpus.joins_cluster())
        if missing:
            raise ValueError(missing[0])


def _hierarchical(values: dict[str, str | None]) -> Any:
    groups: dict[str, SimpleNamespace] = {}
    for name, value in values.items():
        group, _, key = name.partition(".")
        setattr(groups.setdefault(group, SimpleNamespace()), key, value)
    try:
        groups["data"].max_len = int(groups["data"].max_len or MAX_LEN)
        groups["rollout"].max_new_tokens = int(groups["rollout"].max_new_tokens or 0)
    except ValueError:  # no number, which the host's parser says
        groups["rollout"].max_new_tokens = 0
    return SimpleNamespace(**groups)
