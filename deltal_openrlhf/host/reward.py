"""Rewards in a run. A reward that fails stops the run, with the reason.

The host's executor asks for the reward of a response inside the vLLM actor. It logs whatever goes wrong and continues with None. The
executor here keeps the reason and raises it, so it reaches the driver through Ray. --deltal.reward_wait bounds the time of files and HTTP
services. This package's own client asks the services.

A run binds these names, in the driver, while the host makes its engines:

    openrlhf.trainer.ray.create_vllm_engines             -> the same, with the flag's value sent along with the addresses
    openrlhf.trainer.ray.vllm_engine.RolloutRayActor     -> DeltaLRolloutRayActor, while the function above runs

Inside the actor, while it is built, SingleTurnAgentExecutor is bound to RewardedExecutor. A user's own agent (--train.agent_func_path)
stays as it is.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import openrlhf.trainer.ray
import ray
from openrlhf.trainer.ray import vllm_engine
from openrlhf.utils.agent import SingleTurnAgentExecutor

from deltal_openrlhf.agents import named as agents
from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host import remote_code
from deltal_openrlhf.host.images import ImageRolloutActor, WithPrompt
from deltal_openrlhf.host.length_penalties import punishes_cut_off
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.responses import CheckedExecutor
from deltal_openrlhf.host.reward_source import reward_wait, services
from deltal_openrlhf.host.reward_wait import RewardWait, in_thread
from deltal_openrlhf.rewards import named
from deltal_openrlhf.rewards.client import RewardClient, RewardError
from deltal_openrlhf.rewards.reward_file import checked_rewards
from deltal_openrlhf.rewards.token import read_token
from deltal_openrlhf.runs.errors import with_kind
from deltal_openrlhf.runs.redaction import Key, redacted

Texts = Sequence[str]
_FAILURE = "reward failure"


class RewardSource(NamedTuple):
    """The host passes this on as remote_rm_url.

    endpoints: the host's list of addresses, or of one file; None if the run has neither. wait: seconds. unmarked: an option of our own
    reward file. needs_truncated: whether the run does something to responses that are cut off. token: the reward service asks for it.
    """

    endpoints: list[str] | None
    wait: float
    unmarked: str
    needs_truncated: bool = False
    token: Key | None = None


class RewardedExecutor(SingleTurnAgentExecutor):
    """Returns one response with its reward, or raises an exception with the reason."""

    reward_func: Callable[..., Any]

    def __init__(self, source: RewardSource) -> None:
        super().__init__(source.endpoints and [named.located(endpoint) for endpoint in source.endpoints])
        function: Callable | None = self.reward_func
        if function is not None:
            given = {} if source.unmarked == "none" else {"unmarked": source.unmarked}
            self.reward_func = in_thread(functools.partial(function, **given))
        self.wait = RewardWait(source.wait)
        self.client = RewardClient(self.reward_endpoints, source.wait, source.token)

    async def execute(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if kwargs.get("images"):
            kwargs["hf_tokenizer"] = WithPrompt(kwargs["hf_tokenizer"], kwargs["prompt"])
        output = await super().execute(*args, **kwargs)
        logs = output["extra_logs"]
        failure = logs.get(_FAILURE) if isinstance(logs, dict) else None
        if failure is None and self.reward_endpoints and output["reward"] is None:
            failure = (
                f"no reward from {self.reward_endpoints[0]}: the reason is in the log behind 'Failed to fetch reward'"
            )
        if failure is not None:
            raise RuntimeError(redacted(failure))
        return output

    # The host would swallow what these raise, but passes on what they give as extra_logs.

    async def _fetch_rewards_via_http(self, queries_list: Texts, prompts_list: Texts, labels_list: Texts) -> list[dict]:
        try:
            return [await self.client.fetch(queries_list[0], prompts_list[0], labels_list[0])]
        except RewardError as error:
            return [{"extra_logs": {_FAILURE: str(error)}}]

    async def _fetch_rewards_via_func(self, queries_list: Texts, prompts_list: Texts, labels_list: Texts) -> list[dict]:
        try:
            host_fetch = functools.partial(super()._fetch_rewards_via_func, queries_list, prompts_list, labels_list)
            answers = await self.wait.result(host_fetch)
            checked_rewards(answers[0], 1)
            return answers
        # The user's code, which may raise anything.
        except Exception as error:
            return [{"extra_logs": {_FAILURE: f"no reward from {self.reward_endpoints[0]}: {with_kind(error)}"}}]


class DeltaLRolloutRayActor(ImageRolloutActor):
    """The rollout actor. Workers unpickle this class from this package."""

    executor: Any

    async def __init__(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[misc]
        kwargs["trust_remote_code"] = remote_code.is_trusted()
        agent, source = kwargs.pop("agent_func_path"), kwargs["remote_rm_url"]
        with rebound(vllm_engine, "SingleTurnAgentExecutor", RewardedExecutor):
            await super().__init__(*args, agent_func_path=agent and agents.located(agent), **kwargs)
        given_by = agent or (redacted(source.endpoints[0]) if source.endpoints else None)
        self.executor = CheckedExecutor(self.executor, given_by, needs_truncated=source.needs_truncated)


@contextmanager
def engines_bound(arguments: Callable[[], Arguments]) -> Iterator[None]:
    """arguments: gives those of the run, asked when the host makes its engines."""
    host_create = openrlhf.trainer.ray.create_vllm_engines

    def create_vllm_engines(*given: Any, remote_rm_url: list[str] | None = None, **kwargs: Any) -> list:
        with rebound(vllm_engine, "RolloutRayActor", ray.remote(DeltaLRolloutRayActor)):
            args = arguments()
            cuts = args.deltal.overlong_filtering or punishes_cut_off(args)
            token = read_token() if services(args) else None
            source = RewardSource(
                remote_rm_url, reward_wait(args), args.deltal.unmarked, needs_truncated=cuts, token=token
            )
            return host_create(*given, remote_rm_url=source, **kwargs)

    with rebound(openrlhf.trainer.ray, "create_vllm_engines", create_vllm_engines):
        yield
