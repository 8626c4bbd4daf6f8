"""A user's reward file, as --reward.remote_url takes it."""

import importlib.util
from collections.abc import Callable
from typing import Any

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
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ValueError(f"{flag} {path} cannot be loaded: {said}") from error
