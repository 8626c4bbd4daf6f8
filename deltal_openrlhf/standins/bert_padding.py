"""Stand-ins for the functions of flash_attn.bert_padding and flash_attn.utils.distributed that the host imports, in plain torch.

Names, arguments and results are flash-attn 2's (flash_attn/bert_padding.py); the host packs rows with them.
"""

from typing import Any, NoReturn

import torch


def index_first_axis(tensor: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """tensor[indices]: (tokens, ...) -> (len(indices), ...)."""
    return tensor[indices]


def rearrange(tensor: torch.Tensor, pattern: str) -> torch.Tensor:
    """The one pattern of einops.rearrange that the host uses: merge batch and sequence."""
    if pattern != "b s ... -> (b s) ...":
        raise ValueError(f"rearrange pattern {pattern!r} is not supported without flash-attn")
    return tensor.flatten(0, 1)


def unpad_input(
    hidden_states: torch.Tensor, attention_mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int, torch.Tensor]:
    """Drop padding. hidden_states: (batch, seqlen, ...); attention_mask: (batch, seqlen), 1 for tokens.

    Returns the tokens (total, ...), their positions in (batch * seqlen), the cumulated row lengths (batch + 1, int32), the
    longest row's length, and the row lengths (batch, int32).
    """
    lengths = attention_mask.sum(dim=-1, dtype=torch.int32)
    indices = attention_mask.flatten().nonzero().flatten()
    cumulated = torch.nn.functional.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))
    return hidden_states.flatten(0, 1)[indices], indices, cumulated, int(lengths.max()), lengths


def pad_input(hidden_states: torch.Tensor, indices: torch.Tensor, batch: int, seqlen: int) -> torch.Tensor:
    """Undo unpad_input: (total, ...) -> (batch, seqlen, ...), zeros where padding was."""
    padded = hidden_states.new_zeros((batch * seqlen, *hidden_states.shape[1:]))
    # Not in place on a leaf, and differentiable: the host pads log-probabilities.
    return padded.index_put((indices,), hidden_states).unflatten(0, (batch, seqlen))


def all_gather(*_args: Any, **_kwargs: Any) -> NoReturn:
    """flash_attn.utils.distributed.all_gather serves ring attention only, which start-up refuses."""
    raise RuntimeError("ring attention is not available without flash-attn")
