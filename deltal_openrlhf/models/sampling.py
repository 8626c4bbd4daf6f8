"""Samples responses from a transformers model without an engine: exact weights, any dtype, one process. For small models and measurements.

`deltal eval` and training sample with vLLM.
"""

import functools
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from deltal_openrlhf.models.growing_cache import growing_cache
from deltal_openrlhf.models.memory import rows_at_once

KEPT = 0.75
"""Share of the rows in the cache that are still running, down to which those that have ended stay."""


class Response(NamedTuple):
    """A sampled response.

    tokens: ids with the end token. finished: ended by itself. entropy: sum over its tokens of their distribution's entropy, nats.
    energy: sum over its tokens y of |e_y - p|^2, the squared gradient of log p_y in the logits.
    """

    tokens: list[int]
    finished: bool
    entropy: float
    energy: float


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    eos: Collection[int],
    generator: torch.Generator,
    temperature: float = 1.0,
    progress: Callable[[int], None] = lambda ended: None,
) -> list[Response]:
    """One response to each prompt at the given temperature (above 0), all in one batch.

    prompts: token ids, not empty. generator: on the model's device; the responses depend on it and on the batch, so the same call gives
    the same responses. progress: called after every token with the number of responses that have ended.
    """
    device = model.device
    # Responses to one prompt have its keys and values in common: they are computed once.
    places = {prompt: place for place, prompt in enumerate(dict.fromkeys(map(tuple, prompts)))}
    held = torch.tensor(
        [places[tuple(prompt)] for prompt in prompts], device=device
    )  # where each running row is in the cache
    fed, mask = _left_padded(list(places), device)
    positions = None if mask is None else (mask.cumsum(-1) - 1).clamp(min=0)
    ends = torch.tensor(sorted(eos), device=device)
    responses: list[list[int]] = [[] for _ in prompts]
    finished = [False] * len(prompts)
    entropies, energies = torch.zeros(2, len(prompts), device=device)
    alive = torch.arange(len(prompts), device=device)
    cache = growing_cache(model, fed.shape[1] + max_new_tokens)
    for step in range(max_new_tokens):
        output = model(
            input_ids=fed,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits = output.logits[held, -1].float() / temperature
        chances = logits.softmax(-1)
        # Where a chance is 0 its logit may be -inf.
        entropies[alive] += logits.logsumexp(-1) - torch.where(chances > 0, chances * logits, 0.0).sum(-1)
        tokens = torch.multinomial(chances, 1, generator=generator)
        energies[alive] += 1 - 2 * chances.gather(1, tokens)[:, 0] + chances.square().sum(-1)
        ended = torch.isin(tokens[:, 0], ends)
        for row, token, end in torch.stack([alive, tokens[:, 0], ended]).T.tolist():  # one wait for the device
            responses[row].append(token)
            finished[row] = bool(end)
        running = (~ended).nonzero()[:, 0]
        progress(len(prompts) - len(running))
        if len(running) == 0:
            break
        alive, held, tokens = alive[running], held[running], tokens[running]
        # Most responses are short. Rows that have ended leave the cache together, since each leaving copies it.
        if step == 0 or len(alive) <= KEPT * len(fed):
            cache.batch_select_indices(held)
            if mask is not None and positions is not None:
                mask, positions = mask[held], positions[held]
            fed, held = tokens, torch.arange(len(alive), device=device)
        else:
            fed = torch.zeros_like(fed).index_copy_(0, held, tokens)
        if mask is not None and positions is not None:
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            positions = positions[:, -1:] + 1
    return [Response(*parts) for parts in zip(responses, finished, entropies.tolist(), energies.tolist(), strict=True)]


def sample_all(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    most: int,
    max_new_tokens: int,
    progress: Callable[[int], None] = lambda ended: None,
    **how: Any,
) -> list[Response]:
    """As `sample`, whose other arguments are in `how`, with `most` rows in a batch, or as many as a GPU's memory allows.

    progress: called with the number of responses that have ended.
    """
    rows = rows_at_once(model, max(map(len, prompts)), max_new_tokens, most)
    responses: list[Response] = []
    for first in range(0, len(prompts), rows):
        batch = prompts[first : first + rows]
        responses += sample(
            model,
            batch,
            max_new_tokens=max_new_tokens,
            progress=functools.partial(_after, first, progress),
            **how,
        )
        progress(len(responses))
    return responses


def _after(before: int, progress: Callable[[int], None], ended: int) -> None:
    progress(before + ended)


def _left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Tokens [B, P], and their mask, None where all prompts have the same length."""
    longest = max(map(len, prompts))
    tokens = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    if all(len(prompt) == longest for prompt in prompts):
        return tokens, None
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    return tokens, mask


def end_tokens(folder: Path, tokenizer: Any) -> set[int]:
    """As named_end_tokens. Raises ValueError if there are none."""
    ends = named_end_tokens(folder, tokenizer)
    if not ends:
        raise ValueError(f"{folder}: neither the tokenizer nor generation_config.json names an end token")
    return ends


def named_end_tokens(folder: Path, tokenizer: Any) -> set[int]:
    """Those that generation_config.json or config.json names and the tokenizer's: at these vLLM ends a response."""
    try:
        named = GenerationConfig.from_pretrained(folder).eos_token_id
    except OSError:  # older checkpoints have none: it is made of config.json
        named = GenerationConfig.from_pretrained(folder, config_file_name="config.json").eos_token_id
    return {*(named if isinstance(named, list) else [named]), tokenizer.eos_token_id} - {None}
