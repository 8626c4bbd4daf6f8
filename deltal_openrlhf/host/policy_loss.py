"""The host's policy loss with our weights.

The host's per-token loss l (clip, dual clip and importance-sampling correction included) is positively homogeneous in the
advantage: l(x A) = x l(A) for x > 0. So sum_i x_i S_i is the host's own loss on the advantages x_i A_i, summed over tokens, and
nothing of the host is copied or replaced.
"""

import torch
from torch import Tensor, nn


class ResponseWeightedPolicyLoss(nn.Module):
    """Wraps openrlhf.models.PolicyLoss.

    Set `weights` before each call: [num_responses] of the micro batch, x_i times the number of accumulated micro batches (DeepSpeed
    divides by it), or None for the host's own aggregation. A row of weight 0 takes no part, neither in the loss nor in the clip
    and divergence metrics.
    """

    def __init__(self, host_loss: nn.Module) -> None:
        super().__init__()
        self.host_loss = host_loss
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
        dp_size: int = 1,
        batch_num_tokens: Tensor | None = None,
        global_batch_size: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
        """The host's five values. All tensors but the counts are [num_responses, num_tokens]; the loss is a scalar."""
        self.called = True
        taken = action_mask.bool()
        if self.weights is not None:
            taken = taken & (self.weights > 0).unsqueeze(-1)

        def select(values: Tensor | None) -> Tensor | None:
            # The host multiplies by the mask, and 0 * NaN is NaN: what is not trained on must not reach it.
            return None if values is None else torch.where(taken, values, torch.zeros_like(values))

        log_probs, old_log_probs, advantages, rollout_log_probs = map(
            select, (log_probs, old_log_probs, advantages, rollout_log_probs)
        )
        self.host_loss.token_level_loss = self._host_token_level_loss
        if self.weights is not None:
            advantages = advantages * self.weights.unsqueeze(-1).to(advantages.dtype)
            self.host_loss.token_level_loss = True  # with a count of 1: the plain sum over tokens
            batch_num_tokens = torch.ones_like(batch_num_tokens)
        return self.host_loss(
            log_probs,
            old_log_probs,
            advantages,
            action_mask=taken.to(action_mask.dtype),
            rollout_log_probs=rollout_log_probs,
            dp_size=dp_size,
            batch_num_tokens=batch_num_tokens,
            global_batch_size=global_batch_size,
        )
