"""The flags about rewards, checked before Ray starts. Imports neither torch nor the host."""

import asyncio
import math
from importlib.util import find_spec
from urllib.parse import urlsplit

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.rewards import named
from deltal_openrlhf.rewards.client import DEFAULT_WAIT, RewardError, check_addresses, probe
from deltal_openrlhf.rewards.token import VARIABLE, read_token


def reward_wait(args: Arguments) -> float:
    """--deltal.reward_wait in seconds, checked."""
    given = args.deltal.reward_wait
    if given is None:
        return DEFAULT_WAIT
    if not (math.isfinite(given) and given > 0):
        raise ValueError(f"--deltal.reward_wait is {given:g}, allowed are seconds above 0")
    if args.train.agent_func_path or not args.reward.remote_url:
        source = "--train.agent_func_path is set" if args.train.agent_func_path else "--reward.remote_url is not"
        raise ValueError(
            f"--deltal.reward_wait is {given:g}, but {source}; it is allowed with a reward file or the http(s) address of a reward service"
        )
    return given


def check_reward_source(args: Arguments) -> None:
    """Raise ValueError if --reward.remote_url is neither one file nor addresses of services, or a flag does not fit it."""
    reward_wait(args)
    if args.reward.remote_url and not args.train.agent_func_path:
        try:
            named.located(args.reward.remote_url)
        except ValueError as error:
            raise ValueError(f"--reward.remote_url: {error}") from None
    name = None if args.train.agent_func_path else named.known(args.reward.remote_url)
    if name in named.NEEDS and find_spec(named.NEEDS[name][0]) is None:
        raise ValueError(f"--reward.remote_url is {args.reward.remote_url}, which needs {named.NEEDS[name][1]}")
    if args.deltal.unmarked != "none" and name != named.MATH:
        raise ValueError(
            f"--deltal.unmarked is {args.deltal.unmarked}, but --reward.remote_url is {args.reward.remote_url}; it is allowed with "
            f"{named.MATH} only"
        )
    if args.train.agent_func_path or not args.reward.remote_url:
        return
    sources = args.reward.remote_url.split(",")
    if not _is_file(sources[0]):
        try:
            check_addresses(sources)
        except ValueError as error:
            raise ValueError(f"--reward.remote_url: {error}") from None
        if read_token() and any("@" in urlsplit(source).netloc for source in sources):
            raise ValueError(
                f"--reward.remote_url has a user or a password and {VARIABLE} is set; allowed is one of the two"
            )
    elif len(sources) > 1:
        raise ValueError(
            f"--reward.remote_url is {args.reward.remote_url}: of several files the host reads only the first"
        )


def probe_reward_services(args: Arguments) -> bool:
    """Whether a reward service of the run is `deltal serve-rewards`. Raises ValueError if one of them does not answer."""
    addresses = services(args)
    try:
        return bool(addresses) and asyncio.run(probe(addresses, read_token()))
    except RewardError as error:
        raise ValueError(f"--reward.remote_url: {error}") from None


def services(args: Arguments) -> list[str]:
    """Addresses of the reward services of this run; [] for a file, a reward model or an agent."""
    sources = (args.reward.remote_url or "").split(",")
    return [] if args.train.agent_func_path or _is_file(sources[0]) else [source for source in sources if source]


def _is_file(source: str) -> bool:
    return named.is_name(source) or (source.endswith(".py") and "://" not in source)
