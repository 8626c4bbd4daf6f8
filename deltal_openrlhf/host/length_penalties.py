"""The host's length penalties, in which a response that was cut off counts as the longest.

The soft punishment of --reward.overlong_buffer_len looks at lengths only. A response that the context length cuts is shorter by its prompt.
An episode is shorter by the last text of its environment. So the host reduces or skips their punishment.
"""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from openrlhf.trainer.ppo_utils import length_penalty
from openrlhf.trainer.ppo_utils.experience import Experience

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.settings import longest_response

_HOST = length_penalty.apply_length_penalties


def punishes_cut_off(args: Arguments) -> bool:
    """Whether a length penalty depends on being cut off."""
    return args.reward.overlong_buffer_len is not None or args.reward.stop_properly_penalty_coef is not None


def apply_length_penalties(experiences: Sequence[Experience], args: Arguments) -> None:
    """Change the rewards of experiences in place, like the host's function of this name."""
    longest = longest_response(args)
    with ExitStack() as stack:
        stack.enter_context(rebound(args.rollout, "max_new_tokens", longest))
        for experience in experiences:
            if experience.truncated is not None:
                lengths = experience.response_length
                cut = experience.truncated.bool()
                counted = torch.where(cut, lengths.clamp(min=longest), lengths)
                stack.enter_context(rebound(experience, "response_length", counted))
        _HOST(experiences, args)
