"""Credentials among the host's flags: they hide themselves from the moment the flags are read, and wandb's is looked up."""

import argparse
import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.runs.redaction import Address, Key

HIDING: dict[str, type[str]] = {"logger.wandb.key": Key, "reward.remote_url": Address}
"""By the dest of the flag: what its value becomes."""
WANDB_KEY, FROM_ENVIRONMENT = "WANDB_API_KEY", "env"
SHORTEST_KEY = 40
"""Characters, by wandb's own check."""


def hide(parser: argparse.ArgumentParser) -> None:
    """Let the values of these flags hide themselves. Raises KeyError if the host's parser has no such flag."""
    actions = {action.dest: action for action in parser._actions}
    for dest, kind in HIDING.items():
        actions[dest].type = kind
    actions["logger.wandb.key"].help = (
        f"logs to wandb: `{FROM_ENVIRONMENT}` takes the key of {WANDB_KEY} or of `wandb login`. A key given here works too, but others on "
        "this machine can read it with ps"
    )


def resolve_wandb_key(args: Arguments) -> None:
    """Put the key in the place of `env`. Raises ValueError for one that wandb would refuse after minutes, or that is not there."""
    given = args.logger.wandb.key = args.logger.wandb.key or None  # "$UNSET" is no key
    if given is None or os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun"):
        return
    if given == FROM_ENVIRONMENT:
        key = os.environ.get(WANDB_KEY) or _of_netrc()
        if not key:
            raise ValueError(
                f"--logger.wandb.key is {FROM_ENVIRONMENT}, but {WANDB_KEY} is not set and `wandb login` has saved no key here"
            )
        args.logger.wandb.key = given = Key(key)
    if len(given) < SHORTEST_KEY:
        raise ValueError(
            f"--logger.wandb.key is a text of {len(given)} characters, allowed are {FROM_ENVIRONMENT} (with {WANDB_KEY}, or after `wandb "
            f"login`) and a key, which has {SHORTEST_KEY} or more"
        )


def _of_netrc() -> str | None:
    """The key that `wandb login` has saved, for WANDB_BASE_URL."""
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        found = netrc.netrc(path).hosts.get(host or "")
    except (OSError, netrc.NetrcParseError):
        return None
    return found[2] if found else None
