"""Log-probabilities of responses with gradients, where responses to one prompt share its pass."""

from collections.abc import Sequence

import torch
from openrlhf.models.utils import log_probs_from_logits
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

SHARED_BELOW = 0.8
"""A prompt's pass is shared where that leaves less than this share of the tokens. A second pass costs about as much as the others save."""


def response_log_probs(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], temperature: float
) -> Tensor:
    """Log-probabilities of the responses' tokens, float32 [B, R] for R tokens of the longest one, with gradients.

    model: an attention model (inputs.check_architecture). prompts, responses: token ids of B rows; none is empty. Values after a response's
    end are undefined. Equal prompts go through the model once, if that saves enough and no layer has a window.
    """
    distinct = list(dict.fromkeys(map(tuple, prompts)))
    whole = len(prompts) * max(len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True))
    shared = len(distinct) * max(map(len, distinct)) + len(prompts) * (max(map(len, responses)) - 1)
    cache = DynamicCache(config=model.config)
    if shared < SHARED_BELOW * whole and all(type(layer) is DynamicLayer for layer in cache.layers):
        return _after_shared_prompts(model, cache, distinct, prompts, responses, temperature)
    return _of_whole_rows(model, prompts, responses, temperature)


def _of_whole_rows(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], temperature: float
) -> Tensor:
    """The log-probabilities by one pass of prompts with responses. Padding on the right needs no attention mask: attention is causal."""
    tokens = _padded([[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)], model)
    # The head is a large part of a small model, and no token of the shortest prompt needs it but the last.
    skipped = min(map(len, prompts)) - 1
    logits = model(input_ids=tokens, use_cache=False, logits_to_keep=tokens.shape[1] - skipped).logits[:, :-1].float()
    found = log_probs_from_logits(logits, tokens[:, skipped + 1 :], temperature=temperature)
    first = torch.tensor([len(prompt) - 1 - skipped for prompt in prompts], device=model.device)
    places = first[:, None] + torch.arange(max(map(len, responses)), device=model.device)
    return found.gather(1, places.clamp(max=found.shape[1] - 1))


def _after_shared_prompts(
    model: PreTrainedModel,
    cache: DynamicCache,
    distinct: Sequence[Sequence[int]],
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    temperature: float,
) -> Tensor:
    """The log-probabilities by a pass of the distinct prompts and one of the responses. Gradients flow through the cache."""
    number = {prompt: i for i, prompt in enumerate(map(tuple, distinct))}
    owners = torch.tensor([number[tuple(prompt)] for prompt in prompts], device=model.device)
    lengths = torch.tensor(list(map(len, distinct)), device=model.device)
    asked, tokens = _padded(distinct, model), _padded(responses, model)
    kept = asked.shape[1] - int(lengths.min()) + 1
    logits = model(input_ids=asked, past_key_values=cache, use_cache=True, logits_to_keep=kept).logits
    last = logits[torch.arange(len(distinct), device=model.device), lengths - lengths.min()].float()
    found = [log_probs_from_logits(last[owners, None], tokens[:, :1], temperature=temperature)]
    if tokens.shape[1] > 1:
        cache.batch_select_indices(owners)
        present = torch.arange(asked.shape[1], device=model.device) < lengths[owners, None]
        ends = torch.tensor([len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True)])
        places = lengths[owners, None] + torch.arange(tokens.shape[1] - 1, device=model.device)
        logits = model(
            input_ids=tokens[:, :-1],
            past_key_values=cache,
            attention_mask=torch.cat([present, torch.ones_like(tokens[:, 1:], dtype=torch.bool)], 1),
            position_ids=places.minimum(ends.to(places.device)[:, None] - 1),  # no place beyond any row's last one
            use_cache=True,
        ).logits
        found.append(log_probs_from_logits(logits.float(), tokens[:, 1:], temperature=temperature))
    return torch.cat(found, 1)


def _padded(rows: Sequence[Sequence[int]], model: PreTrainedModel) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=model.device)
