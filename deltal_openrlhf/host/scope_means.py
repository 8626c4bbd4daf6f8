"""What the weights of a response depend on beyond its own optimizer step. The driver computes it and sends it along with the response."""

from collections.abc import Sequence

import torch
from openrlhf.trainer.ppo_utils.experience import Experience
from torch import Tensor

from deltal_openrlhf.aggregation import response_signs
from deltal_openrlhf.host.settings import LossSettings

# Per-response values in Experience.info.
SCOPE_MEAN_KEY = "deltal_scope_mean"
ALPHA_KEY = "deltal_alpha"  # the one in force, of a run with --alpha auto


def trained_lengths(action_mask: Tensor, truncated: Tensor | None, settings: LossSettings) -> Tensor:
    """L_i in tokens, [num_responses]. Holes of multi-turn masks do not count, and a filtered response has 0."""
    lengths = action_mask.sum(-1)
    if settings.overlong_filtering and truncated is not None:
        lengths = torch.where(truncated.to(lengths.device).bool(), torch.zeros_like(lengths), lengths)
    return lengths


def attach_scope_means(experiences: Sequence[Experience], settings: LossSettings, group_size: int) -> None:
    """Attach to every response of a whole rollout batch its scope mean (Aggregation.scope_means), if the weights need one.

    experiences: with advantages, of one or more responses each, in any order. The group_size responses to a prompt have successive numbers
        in `index`, as the host gives them.
    settings: those in force, which differ from the run's in an alpha that adapts.

    Raises RuntimeError if responses to different prompts have those numbers, and ValueError if `balanced` meets a response with
    advantages of both signs.
    """
    if settings.alpha is not None and settings.alpha_window is not None:
        for experience in experiences:
            experience.info[ALPHA_KEY] = torch.full((len(experience.index),), settings.alpha, dtype=torch.float64)
    if not settings.aggregation.spans_steps:
        return
    groups = torch.tensor([number for e in experiences for number in e.index]) // group_size
    prompts = [prompt for e in experiences for prompt in e.prompts]
    if len(set(zip(groups.tolist(), prompts, strict=True))) > len(groups.unique()):
        raise RuntimeError("the responses to a prompt are not together in the rollout batch: the host changed")
    lengths = torch.cat([trained_lengths(e.action_mask, e.truncated, settings) for e in experiences])
    is_balanced = settings.mode == "balanced"
    signs = torch.cat([response_signs(e.advantages, e.action_mask) for e in experiences]) if is_balanced else None
    means = settings.aggregation.scope_means(lengths, groups, signs)
    assert means is not None
    for experience, part in zip(experiences, means.split([len(e.index) for e in experiences]), strict=True):
        experience.info[SCOPE_MEAN_KEY] = part
