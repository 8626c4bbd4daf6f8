"""Credentials among the host's flags: they hide themselves from the moment the flags are read, and wandb's is looked up."""

import argparse
import os

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.runs.redaction import Address, Key

HIDING: dict[str, type[str]] = {"logger.wandb.key": Key, "reward.remote_url": Address}
"""By the dest of the flag: what its value becomes."""
WANDB_KEY, FROM_ENVIRONMENT = "WANDB_API_KEY", "env"


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
    if fault := _fault(given):
        remedy = f"{FROM_ENVIRONMENT} (with {WANDB_KEY}, or after `wandb login`)"
        raise ValueError(f"--logger.wandb.key: wandb refuses it: {fault}; allowed are {remedy} and a key")


def _fault(key: str) -> str | None:
    """What wandb's own check says of the form of a key: it takes keys with a prefix, and tokens, of many lengths."""
    try:
        from wandb.sdk.lib.wbauth import check_api_key
    except ImportError:  # another version: it says so itself, in the controller
        return None
    fault = check_api_key(str(key))
    return fault and fault.rstrip(".")


def _of_netrc() -> str | None:
    """The key that `wandb login` has saved for WANDB_BASE_URL, or for wandb's own server: its name depends on the version of wandb."""
    try:
        from wandb.errors import AuthenticationError
        from wandb.sdk.lib.urls import DEFAULT_BASE_URL
        from wandb.sdk.lib.wbauth import read_netrc_auth
    except ImportError:
        return None
    try:
        return read_netrc_auth(host=os.environ.get("WANDB_BASE_URL") or DEFAULT_BASE_URL)
    except AuthenticationError as error:
        raise ValueError(
            f"--logger.wandb.key is {FROM_ENVIRONMENT}, and wandb refuses the saved key: {error}"
        ) from None
