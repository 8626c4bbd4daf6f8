"""Checks what an executor returns for a response: its reward, its score, its logs, and whether it was cut off.

The host accepts everything. A score that is NaN filters its group, and with it all data. A log that is text ends the run with a traceback.
An episode that the context length cuts counts as finished, because its last turn ended by itself (OpenRLHF#1352).
"""

from contextvars import ContextVar
from typing import Any

from openrlhf.utils.agent import AgentExecutorBase, MultiTurnAgentExecutor
from openrlhf.utils.logging_utils import init_logger

from deltal_openrlhf.host.extra_logs import loggable
from deltal_openrlhf.rewards.reward_file import checked_numbers

logger = init_logger(__name__)

WANTED = ("prompt", "label", "observation_tokens", "action_ranges", "rollout_log_probs")
"""What the host reads of every response, beside its reward."""
_done: ContextVar[list[bool]] = ContextVar("done")
"""Of the episode in progress: what its agent said after each turn."""


class CheckedExecutor:
    """An executor of the host, of this package or of the user, whose responses are checked.

    source: names what gives rewards, for messages. None if a reward model gives them later. needs_truncated: whether the run treats cut-off
    responses differently.
    """

    def __init__(self, executor: AgentExecutorBase, source: str | None, *, needs_truncated: bool) -> None:
        self.executor, self.source, self.needs_truncated = executor, source, needs_truncated
        self._said: set[str] = set()
        if isinstance(executor, MultiTurnAgentExecutor):
            executor.agent_instance_cls = _watched(executor.agent_instance_cls)

    async def execute(self, *args: Any, max_length: int, **kwargs: Any) -> dict[str, Any]:
        """As AgentExecutorBase.execute. Raises RuntimeError, in one line, for a response that cannot be trained on."""
        said: list[bool] = []
        _done.set(said)
        output = await self.executor.execute(*args, max_length=max_length, **kwargs)
        self._check_fields(output)
        if isinstance(self.executor, MultiTurnAgentExecutor) and not (said and said[-1]):
            # The agent would have gone on; an episode of the host's own loop ends like this where the context is full.
            output["truncated"] = bool(output.get("truncated")) or len(output["observation_tokens"]) >= max_length
        if self.source is not None:
            self._check_reward(output)
            output["extra_logs"] = self._logs(output.get("extra_logs"))
        return output

    def _check_fields(self, output: Any) -> None:
        if not isinstance(output, dict):
            raise RuntimeError(f"{self.source} gave {str(output)[:80]!r} for a response, allowed is a dict")
        missing = [name for name in WANTED if name not in output]
        if missing:
            raise RuntimeError(f"{self.source} gave a response without {', '.join(missing)}")
        if self.needs_truncated and output.get("truncated") is None:
            raise RuntimeError(
                f"{self.source} gave a response without truncated, which says whether it was cut off: --deltal.overlong_filtering and "
                "length penalties need it"
            )

    def _check_reward(self, output: dict[str, Any]) -> None:
        """Convert rewards and scores to plain numbers."""
        try:
            output["reward"] = checked_numbers("reward", output.get("reward"), 1, who="it").item()
            output["scores"] = checked_numbers("score", output.get("scores", output["reward"]), 1, who="it").item()
        except ValueError as error:
            raise RuntimeError(f"no reward from {self.source}: {error}") from None

    def _logs(self, given: Any) -> dict[str, float]:
        logs, faults = loggable(given)
        for key, fault in faults.items():
            if key not in self._said:
                self._said.add(key)
                logger.warning(f"{self.source}: {fault}; it is left out of the metrics, the run continues (said once)")
        return logs


def _watched(agent: type) -> type:
    """The agent's class, whose steps record whether they end the episode."""

    class Watched(agent):
        async def step(self, *args: Any, **kwargs: Any) -> dict:
            result = await super().step(*args, **kwargs)
            _done.get().append(bool(result["done"]))
            return result

    Watched.__name__, Watched.__qualname__ = agent.__name__, agent.__qualname__
    return Watched
