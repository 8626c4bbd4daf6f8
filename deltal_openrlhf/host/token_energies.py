"""How much a token moves the policy, from the probabilities that the policy's forward pass has:

    w = |e_y - p|^2 = 1 - 2 p_y + sum_v p_v^2

e_y - p is the gradient of log p_y with respect to the logits, for the sampled token y. w is the logit-gradient proxy of the Optimal Token
Baseline, arXiv 2602.07078.
"""

from typing import Any, NamedTuple

import torch
from openrlhf.models import actor as host_actor
from torch import Tensor, nn

from deltal_openrlhf.host.rebind import rebound


class Scored(NamedTuple):
    """What a policy worker returns of a batch. Both are [num_responses, num_actions] fp32, on the CPU, 0 where nothing was sampled."""

    log_probs: Tensor
    energies: Tensor


def token_energies(log_probs: Tensor, squares: Tensor) -> Tensor:
    """w of the formula above, at least 0. log_probs: log p_y; squares: sum_v p_v^2."""
    return (1 - 2 * log_probs.exp() + squares).clamp(min=0)


def sum_of_squares(logits: Tensor) -> Tensor:
    """sum_v p_v^2. logits: [..., vocab]."""
    return logits.softmax(-1).square_().sum(-1)


class WithSquares:
    """The host's Actor in a forward pass that also gives sum_v p_v^2, through the place where the host computes entropies."""

    def __init__(self, actor: nn.Module) -> None:
        self.actor = actor
        self.energies = torch.empty(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.actor, name)

    def __call__(self, sequences: Tensor, action_mask: Tensor, attention_mask: Tensor, **kwargs: Any) -> Tensor:
        with rebound(host_actor, "compute_entropy", sum_of_squares):
            log_probs, output = self.actor(
                sequences, action_mask, attention_mask, return_output=True, return_entropy=True, **kwargs
            )
        squares = output.entropy[:, -action_mask.shape[1] :]
        self.energies = (token_energies(log_probs, squares) * action_mask).cpu()
        return log_probs
