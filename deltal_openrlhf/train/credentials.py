"""Credentials among the host's flags. They are hidden from the moment the flags are read, and the wandb key is looked up."""

import argparse
import os

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.runs.errors import first_line
from deltal_openrlhf.runs.packages import installed_version
from deltal_openrlhf.runs.redaction import Address, Key

HIDING: dict[str, type[str]] = {"logger.wandb.key": Key, "reward.remote_url": Address}
"""By the dest of the flag: what its value becomes."""
WANDB_KEY, FROM_ENVIRONMENT = "WANDB_API_KEY", "env"
CHECKED_AGAINST = "0.31.0"
"""The version of wandb whose private functions are known. OpenRLHF takes any version."""


def hide(parser: argparse.ArgumentParser) -> None:
    """Hide the values of these flags wherever they are printed. Raises KeyError if the host's parser has no such flag."""
    actions = {action.dest: action for action in parser._actions}
    for dest, kind in HIDING.items():
        actions[dest].type = kind
    actions["logger.wandb.key"].help = (
        f"logs to wandb: `{FROM_ENVIRONMENT}` takes the key of {WANDB_KEY} or of `wandb login`. A key given here works too, but others on "
        "this machine can read it with ps"
    )


def resolve_wandb_key(args: Arguments) -> list[str]:
    """Replace `env` by the key. Returns a line if the form of the key could not be checked.

    Raises ValueError if the key is missing, cannot be looked up, or would be refused by wandb minutes later.
    """
    given = args.logger.wandb.key = args.logger.wandb.key or None  # "$UNSET" is no key
    if given is None or os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun"):
        return []
    if given == FROM_ENVIRONMENT:
        key = os.environ.get(WANDB_KEY) or _of_netrc()
        if not key:
            raise ValueError(
                f"--logger.wandb.key is {FROM_ENVIRONMENT}, but {WANDB_KEY} is not set and `wandb login` has saved no key here"
            )
        args.logger.wandb.key = given = Key(key)
    try:
        fault = _fault(given)
    except ImportError as error:
        return [f"--logger.wandb.key: its form was not checked: {_lacks(error)}"]
    if fault:
        remedy = f"{FROM_ENVIRONMENT} (with {WANDB_KEY}, or after `wandb login`)"
        raise ValueError(f"--logger.wandb.key: wandb refuses it: {fault}; allowed are {remedy} and a key")
    return []


def _lacks(error: ImportError) -> str:
    return f"{first_line(error)} (wandb is {installed_version('wandb')}, known is {CHECKED_AGAINST})"


def _fault(key: str) -> str | None:
    """What wandb's own check says about the form of a key. It accepts keys with a prefix, and tokens, of many lengths."""
    from wandb.sdk.lib.wbauth import check_api_key

    fault = check_api_key(str(key))
    return fault and fault.rstrip(".")


def _of_netrc() -> str | None:
    """The key that `wandb login` saved for WANDB_BASE_URL or for wandb's own server. The function's name depends on wandb's version."""
    try:
        from wandb.errors import AuthenticationError
        from wandb.sdk.lib.urls import DEFAULT_BASE_URL
        from wandb.sdk.lib.wbauth import read_netrc_auth
    except ImportError as error:
        raise ValueError(
            f"--logger.wandb.key is {FROM_ENVIRONMENT}, {WANDB_KEY} is not set, and the key of `wandb login` cannot be looked up: "
            f"{_lacks(error)}; set {WANDB_KEY}"
        ) from error
    try:
        return read_netrc_auth(host=os.environ.get("WANDB_BASE_URL") or DEFAULT_BASE_URL)
    except AuthenticationError as error:
        raise ValueError(
            f"--logger.wandb.key is {FROM_ENVIRONMENT}, and wandb refuses the saved key: {error}"
        ) from None
