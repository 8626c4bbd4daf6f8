"""A user's reward file, as --reward.remote_url takes it."""

import importlib.util
from collections.abc import Callable
from typing import Any

import torch

from deltal_openrlhf.runs.errors import with_kind

RewardFunction = Callable[[list[str], list[str], list[str]], Any]
"""reward_func(queries, prompts, labels); a query is a prompt with its response."""


def load_reward_function(flag: str, path: str) -> RewardFunction:
    """The reward_func of a file, which is executed as the host executes it. Raises ValueError, in one line, if that fails.

    flag: that named the file, for the message.
    """
    spec = importlib.util.spec_from_file_location("reward_func", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "reward_func"):
            raise ValueError("it has no function reward_func(queries, prompts, labels)")
        return module.reward_func
    except (Exception, SystemExit) as error:  # the user's code, which may raise anything
        raise ValueError(f"{flag} {path} cannot be loaded: {with_kind(error)}") from error


def checked_rewards(answer: Any, responses: int) -> torch.Tensor:
    """The rewards that a reward_func gave for so many responses, float32 [responses]. Raises ValueError for anything else."""
    if not isinstance(answer, dict) or answer.get("rewards") is None:
        raise ValueError(f"reward_func gave {str(answer)[:80]!r}, allowed is a dict with rewards")
    rewards = torch.as_tensor(answer["rewards"]).float().flatten()
    if len(rewards) != responses:
        raise ValueError(
            f"reward_func gave {len(rewards)} reward(s) for {responses} response(s), allowed is one for each"
        )
    wrong = rewards[~rewards.isfinite()]
    if len(wrong):
        raise ValueError(
            f"reward_func gave the reward {wrong[0].item()}, allowed is one finite number for each response"
        )
    return rewards
