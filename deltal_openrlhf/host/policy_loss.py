"""The host's policy loss with this package's weights.

The host's per-token loss l includes clip, dual clip and importance-sampling correction. It is positively homogeneous in the advantage: l(x
A) = x l(A) for x > 0. So sum_i x_i S_i is the host's own loss on the advantages x_i A_i, summed over tokens. Nothing of the host is copied
or replaced.
"""

from typing import Any

import torch
from torch import Tensor, nn


class ResponseWeightedPolicyLoss(nn.Module):
    """Wraps openrlhf.models.PolicyLoss.

    Set `weights` before each call: [num_responses] of the micro batch, x_i times the number of accumulated micro batches (DeepSpeed divides
    by it). None keeps the host's own aggregation. A row of weight 0 is excluded from the loss and from the clip and divergence metrics.
    """

    def __init__(self, host_loss: nn.Module) -> None:
        super().__init__()
        self.host_loss: Any = host_loss
        self.weights: Tensor | None = None
        self.called = False
        self._host_token_level_loss = host_loss.token_level_loss

    def forward(
        self,
        log_probs: Tensor,
        old_log_probs: Tensor,
        advantages: Tensor,
        action_mask: Tensor,
        rollout_log_probs: Tensor | None = None,
        **counts: Any,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
        """The host's five values. All tensors are [num_responses, num_tokens]; the loss is a scalar.

        counts: dp_size, batch_num_tokens and global_batch_size, as the host passes them.
        """
        self.called = True
        taken = action_mask.bool()
        if self.weights is not None:
            taken = taken & (self.weights > 0).unsqueeze(-1)
            advantages = advantages * self.weights.unsqueeze(-1).to(advantages.dtype)
            counts["batch_num_tokens"] = torch.ones_like(counts["batch_num_tokens"])
        # With a count of 1 the host's mean over tokens is the plain sum.
        self.host_loss.token_level_loss = self._host_token_level_loss or self.weights is not None

        def select(values: Tensor) -> Tensor:
            # The host multiplies by the mask, and 0 * NaN is NaN: what is not trained on must not reach it.
            return torch.where(taken, values, torch.zeros_like(values))

        return self.host_loss(
            select(log_probs),
            select(old_log_probs),
            select(advantages),
            action_mask=taken.to(action_mask.dtype),
            rollout_log_probs=None if rollout_log_probs is None else select(rollout_log_probs),
            **counts,
        )
