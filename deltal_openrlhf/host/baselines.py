"""Baselines that take the place of the mean reward of a prompt's responses. A = r - b has the same expected gradient with any of them.

    opo  b = sum_j L_j r_j / sum_j L_j            OPO, arXiv 2505.23585
    otb  b_t = sum_j W_jt r_j / sum_j W_jt        Optimal Token Baseline, arXiv 2602.07078

The sums run over the responses j to the prompt, in otb over those that have a t-th trained token. W_jt adds up what token_energies.py gives
for the first t of them. Where only one response has a t-th token, b_t is 0, as in verl 0.9.1. L counts all trained tokens, those of
responses that are filtered out of the loss too, as the host's mean counts these responses.
"""

from collections.abc import Sequence

import torch
from openrlhf.trainer.ppo_utils.experience import Experience
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def subtract_length_weighted_mean(experiences: Sequence[Experience], group_size: int) -> None:
    """Turn the host's advantages A_i = (r_i - mean of r) / scale into (r_i - b) / scale.

    The mean cancels: this is A_i - sum_j L_j A_j / sum_j L_j.

    experiences: of a whole rollout batch, with one advantage for all trained tokens of a response.
    """
    numbers = torch.tensor([number for e in experiences for number in e.index])
    order = numbers.argsort()
    lengths = torch.cat([e.action_mask.sum(-1) for e in experiences]).double()[order].view(-1, group_size)
    advantages = torch.cat([_one(e) for e in experiences]).double()[order].view(-1, group_size)
    means = (lengths * advantages).sum(-1) / lengths.sum(-1).clamp(min=1)
    of_responses = means[numbers // group_size].split([len(e.index) for e in experiences])
    for experience, mean in zip(experiences, of_responses, strict=True):
        experience.advantages = experience.advantages - mean.to(experience.advantages.dtype)[:, None]
        experience.returns = experience.advantages.clone()


def _one(experience: Experience) -> Tensor:
    """[num_responses], a response's advantage."""
    mask = experience.action_mask
    return (experience.advantages * mask).sum(-1) / mask.sum(-1).clamp(min=1)


def subtract_optimal_token_baseline(
    experiences: Sequence[Experience], energies: Sequence[Tensor], group_size: int
) -> None:
    """Set the advantages to r_i - b_t.

    experiences: of a whole rollout batch, with rewards. energies: of each, [num_responses, num_actions].
    """
    rows = {}
    for experience, of_tokens in zip(experiences, energies, strict=True):
        experience.advantages = torch.zeros_like(experience.advantages)
        for row, number in enumerate(experience.index):
            mask = experience.action_mask[row].bool()
            rows[number] = (experience, row, mask, of_tokens[row][mask].double().cumsum(0))
    for first in range(0, len(rows), group_size):
        prompt = [rows[first + i] for i in range(group_size)]
        w = pad_sequence([summed for *_, summed in prompt], batch_first=True)
        have = pad_sequence([torch.ones_like(summed) for *_, summed in prompt], batch_first=True).sum(0)
        rewards = torch.stack([e.rewards[row] for e, row, *_ in prompt]).double()
        baseline = (w * rewards[:, None]).sum(0) / w.sum(0).clamp(min=torch.finfo(torch.float64).tiny)
        baseline = torch.where(have > 1, baseline, 0.0)
        for reward, (experience, row, mask, summed) in zip(rewards, prompt, strict=True):
            experience.advantages[row, mask] = (reward - baseline[: len(summed)]).to(experience.advantages.dtype)
    for experience in experiences:
        experience.returns = experience.advantages.clone()
