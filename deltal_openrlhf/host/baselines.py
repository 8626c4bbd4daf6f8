"""Baselines that take the place of the mean reward of a prompt's responses. The advantage is r - b.

    opo  b = sum_j L_j r_j / sum_j L_j            OPO, arXiv 2505.23585
    otb  b_t = sum_j W_jt r_j / sum_j W_jt        Optimal Token Baseline, arXiv 2602.07078

The sums run over all responses j to the prompt, the response itself included, in otb over those that have a t-th trained token. W_jt adds
up what token_energies.py gives for the first t of them. Where only one response has a t-th token, b_t is 0, as in verl 0.9.1. L counts all
trained tokens, those of responses that are filtered out of the loss too, as the host's mean counts these responses.

As with the host's mean, group_norm divides the advantage by the standard deviation of the prompt's rewards, and then --reward.clip_range
holds.
"""

from collections.abc import Sequence

import torch
from openrlhf.trainer.ppo_utils.experience import Experience
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from deltal_openrlhf.arguments import Arguments


def set_advantages(
    experiences: Sequence[Experience], energies: Sequence[Tensor], baseline: str, args: Arguments
) -> None:
    """Change advantages and returns in place to those with the baseline opo or otb.

    experiences: of a whole rollout batch, after the host's length penalties. energies: of each, [num_responses, num_actions]; opo does not
        use them.
    """
    rows = {number: (k, row) for k, e in enumerate(experiences) for row, number in enumerate(e.index)}
    for experience in experiences:
        experience.advantages = torch.zeros_like(experience.advantages)
    size = args.rollout.n_samples_per_prompt
    for first in range(0, len(rows), size):
        prompt = [rows[number] for number in range(first, first + size)]
        masks = [experiences[k].action_mask[row].bool() for k, row in prompt]
        rewards = torch.stack([experiences[k].rewards[row] for k, row in prompt]).double()
        if baseline == "opo":
            b = _opo(rewards, torch.stack([mask.sum() for mask in masks]).double())
        else:
            b = _otb(rewards, [energies[k][row][mask] for (k, row), mask in zip(prompt, masks, strict=True)])
        scale = rewards.std() + 1e-9 if args.algo.advantage.estimator == "group_norm" else 1.0
        for (k, row), mask, reward in zip(prompt, masks, rewards, strict=True):
            advantages = (reward - b[: int(mask.sum())]) / scale
            if args.reward.clip_range:
                advantages = advantages.clamp(*args.reward.clip_range)
            experiences[k].advantages[row, mask] = advantages.to(experiences[k].advantages.dtype)
    for experience in experiences:
        experience.returns = experience.advantages.clone()
        experience.info["return"] = experience.advantages.sum(-1) / experience.action_mask.sum(-1).clamp(min=1)


def _opo(rewards: Tensor, lengths: Tensor) -> Tensor:
    """b, the same for all tokens of the longest response."""
    return ((lengths * rewards).sum() / lengths.sum().clamp(min=1)).expand(int(lengths.max()))


def _otb(rewards: Tensor, energies: Sequence[Tensor]) -> Tensor:
    """b_t, [tokens of the longest]. energies: of the trained tokens of each response."""
    w = pad_sequence([of_tokens.double().cumsum(0) for of_tokens in energies], batch_first=True)
    have = pad_sequence([torch.ones(len(of_tokens)) for of_tokens in energies], batch_first=True).sum(0)
    b = (w * rewards[:, None]).sum(0) / w.sum(0).clamp(min=torch.finfo(torch.float64).tiny)
    return torch.where(have > 1, b, 0.0)
