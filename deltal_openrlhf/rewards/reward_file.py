"""A user's reward file, as --reward.remote_url takes it."""

import importlib.util
from collections.abc import Callable
from typing import Any

import torch

from deltal_openrlhf.rewards import named
from deltal_openrlhf.runs.errors import with_kind

RewardFunction = Callable[[list[str], list[str], list[str]], Any]
"""reward_func(queries, prompts, labels); a query is a prompt with its response."""


def load_reward_function(flag: str, path: str) -> RewardFunction:
    """Load the reward_func of a file, executed as the host executes it. Raises ValueError, in one line, if that fails.

    flag: the flag that named the file, for the message. path: a path, or the name of a file of ours (named.py).
    """
    spec = importlib.util.spec_from_file_location("reward_func", named.located(path))
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
    """Check the rewards that a reward_func gave for this many responses, and return them as float32 [responses].

    Raises ValueError for anything else, also in `scores`, which decide what dynamic filtering keeps.
    """
    if not isinstance(answer, dict) or answer.get("rewards") is None:
        raise ValueError(f"reward_func gave {str(answer)[:80]!r}, allowed is a dict with rewards")
    if answer.get("scores") is not None:
        checked_numbers("score", answer["scores"], responses)
    return checked_numbers("reward", answer["rewards"], responses)


def checked_numbers(name: str, given: Any, responses: int, who: str = "reward_func") -> torch.Tensor:
    """Check that there is one finite number for each response, and return them as float32 [responses]. Raises ValueError otherwise.

    name: reward or score. who: the source, for the message.
    """
    try:
        numbers = torch.as_tensor(given).float().flatten()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"{who} gave the {name}s {str(given)[:30]!r}, allowed is one finite number for each response"
        ) from None
    if len(numbers) != responses:
        raise ValueError(f"{who} gave {len(numbers)} {name}(s) for {responses} response(s), allowed is one for each")
    wrong = numbers[~numbers.isfinite()]
    if len(wrong):
        raise ValueError(f"{who} gave the {name} {wrong[0].item()}, allowed is one finite number for each response")
    return numbers
