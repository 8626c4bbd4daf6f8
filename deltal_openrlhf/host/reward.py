"""Rewards in a run: a reward that cannot be had stops it, with the reason.

The host's executor asks for the reward of a response inside the vLLM actor; it logs whatever goes wrong and continues with None.
Ours keeps the reason and raises it, so that it reaches the driver through Ray. HTTP services are asked by our client, which waits for
them as long as --deltal.reward_wait says.

What a run binds, in the driver, while the host makes its engines:

    openrlhf.trainer.ray.create_vllm_engines             -> the same, with the flag's value sent along with the addresses
    openrlhf.trainer.ray.vllm_engine.RolloutRayActor     -> DeltaLRolloutRayActor, while the function above runs

and inside the actor, while it is built, SingleTurnAgentExecutor -> RewardedExecutor. A user's own agent (--train.agent_func_path) is left
alone.
"""

import asyncio
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import openrlhf.trainer.ray
import ray
from openrlhf.trainer.ray import vllm_engine
from openrlhf.utils.agent import SingleTurnAgentExecutor

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.sampling import SeededRolloutActor
from deltal_openrlhf.rewards.client import DEFAULT_WAIT, RewardClient, RewardError, check_addresses, probe
from deltal_openrlhf.rewards.reward_file import checked_rewards
from deltal_openrlhf.runs.errors import with_kind

Texts = Sequence[str]
_FAILURE = "reward failure"
MATH_REWARD = "math_reward.py"


class RewardSource(NamedTuple):
    """What the host passes on as remote_rm_url. endpoints: its list of addresses, or of one file; None without. wait: seconds.
    unmarked: for our own reward file."""

    endpoints: list[str] | None
    wait: float
    unmarked: str


class RewardedExecutor(SingleTurnAgentExecutor):
    """One response and its reward, or an exception with the reason."""

    def __init__(self, source: RewardSource) -> None:
        super().__init__(source.endpoints)
        if source.unmarked != "none":
            self.reward_func: Callable = functools.partial(self.reward_func, unmarked=source.unmarked)
        self.client = RewardClient(self.reward_endpoints, source.wait)

    async def execute(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        output = await super().execute(*args, **kwargs)
        failure = output["extra_logs"].get(_FAILURE)
        if failure is None and self.reward_endpoints and output["reward"] is None:
            failure = (
                f"no reward from {self.reward_endpoints[0]}: the reason is in the log behind 'Failed to fetch reward'"
            )
        if failure is not None:
            raise RuntimeError(failure)
        return output

    # The host would swallow what these raise, but passes on what they give as extra_logs.

    async def _fetch_rewards_via_http(self, queries_list: Texts, prompts_list: Texts, labels_list: Texts) -> list[dict]:
        try:
            return [await self.client.fetch(queries_list[0], prompts_list[0], labels_list[0])]
        except RewardError as error:
            return [{"extra_logs": {_FAILURE: str(error)}}]

    async def _fetch_rewards_via_func(self, queries_list: Texts, prompts_list: Texts, labels_list: Texts) -> list[dict]:
        try:
            answers = await super()._fetch_rewards_via_func(queries_list, prompts_list, labels_list)
            checked_rewards(answers[0], 1)
            return answers
        # The user's code, which may raise anything.
        except Exception as error:
            return [{"extra_logs": {_FAILURE: f"no reward from {self.reward_endpoints[0]}: {with_kind(error)}"}}]


class DeltaLRolloutRayActor(SeededRolloutActor):
    """Workers unpickle this class from our package."""

    async def __init__(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[misc]
        with rebound(vllm_engine, "SingleTurnAgentExecutor", RewardedExecutor):
            await super().__init__(*args, **kwargs)


@contextmanager
def engines_bound(arguments: Callable[[], Arguments]) -> Iterator[None]:
    """arguments: gives those of the run, asked when the host makes its engines."""
    host_create = openrlhf.trainer.ray.create_vllm_engines

    def create_vllm_engines(*args: Any, remote_rm_url: list[str] | None = None, **kwargs: Any) -> list:
        with rebound(vllm_engine, "RolloutRayActor", ray.remote(DeltaLRolloutRayActor)):
            source = RewardSource(remote_rm_url, reward_wait(arguments()), arguments().deltal.unmarked)
            return host_create(*args, remote_rm_url=source, **kwargs)

    with rebound(openrlhf.trainer.ray, "create_vllm_engines", create_vllm_engines):
        yield


def reward_wait(args: Arguments) -> float:
    """--deltal.reward_wait in seconds, checked."""
    given = args.deltal.reward_wait
    if given is None:
        return DEFAULT_WAIT
    if not (math.isfinite(given) and given > 0):
        raise ValueError(f"--deltal.reward_wait is {given:g}, allowed are seconds above 0")
    if not _services(args):
        raise ValueError(
            f"--deltal.reward_wait is {given:g}, but --reward.remote_url is {args.reward.remote_url}; it is allowed with the http(s) "
            "address of a reward service only"
        )
    return given


def check_reward_source(args: Arguments) -> None:
    """Raise ValueError if --reward.remote_url is neither one file nor addresses of services, or a flag does not fit it."""
    reward_wait(args)
    ours = Path(args.reward.remote_url or "").name == MATH_REWARD and not args.train.agent_func_path
    if ours and find_spec("math_verify") is None:
        raise ValueError(
            f"--reward.remote_url is {args.reward.remote_url}, which needs math-verify: pip install -e '.[rewards]'"
        )
    if args.deltal.unmarked != "none" and not ours:
        raise ValueError(
            f"--deltal.unmarked is {args.deltal.unmarked}, but --reward.remote_url is {args.reward.remote_url}; it is allowed with "
            f"{MATH_REWARD} only"
        )
    if args.train.agent_func_path or not args.reward.remote_url:
        return
    sources = args.reward.remote_url.split(",")
    if not _is_file(sources[0]):
        try:
            check_addresses(sources)
        except ValueError as error:
            raise ValueError(f"--reward.remote_url: {error}") from None
    elif len(sources) > 1:
        raise ValueError(
            f"--reward.remote_url is {args.reward.remote_url}: of several files the host reads only the first"
        )


def probe_reward_services(args: Arguments) -> None:
    """Raise ValueError if a reward service of the run does not answer."""
    try:
        asyncio.run(probe(_services(args)))
    except RewardError as error:
        raise ValueError(f"--reward.remote_url: {error}") from None


def _services(args: Arguments) -> list[str]:
    """Addresses of the reward services of this run; [] for a file, a reward model or an agent."""
    sources = (args.reward.remote_url or "").split(",")
    return [] if args.train.agent_func_path or _is_file(sources[0]) else [source for source in sources if source]


def _is_file(source: str) -> bool:
    return source.endswith(".py") and "://" not in source
