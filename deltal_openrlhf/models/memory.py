"""The memory of a transformers model beyond its parameters, from its configuration: for training passes and for sampling, and what is free.

A training pass keeps these numbers per token, if nothing is fused or computed again. The model has L layers with hidden size h, MLP width f
and vocabulary V. q and k are the attention widths (heads x head size; k for keys and for values). Logits are in float32, everything else in
the model's dtype:

    norms       6 h a layer: input, normalised, scaled; twice                        3 h for the last one
    attention   3 q + 2 k + one a head: queries, output and its copy in order of tokens; keys, values; log-sum-exp
                2 q + 2 k more where queries and keys have norms of their own
    MLP         4 f: gate, its activation, up, their product
    logits      6 V: logits, a copy without the last position, and in the backward pass four at once of their gradient

A fused attention kernel keeps no scores. torch's plain one keeps heads x tokens of the row for each token.
tests/models/test_model_memory.py compares the estimates with what torch allocates on a CPU.
"""

from typing import NamedTuple

import psutil
import torch
from transformers import PreTrainedModel

SAFETY = 0.7
"""Share of the free memory that is planned with: kernels' work space, temporaries of a backward pass and fragmentation take the rest."""
LOGITS = 6
SAMPLED_LOGITS = 6
"""Arrays [rows, vocabulary] in float32 of one sampling step: logits, divided by the temperature, chances, and those of the entropy."""


class Widths(NamedTuple):
    layers: int
    hidden: int
    heads: int
    queries: int
    keys: int
    mlp: int
    vocabulary: int


def widths(model: PreTrainedModel) -> Widths:
    config = model.config.get_text_config()
    hidden, heads = config.hidden_size, config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or hidden // heads
    mlp = getattr(config, "intermediate_size", None) or 4 * hidden  # GPT-2 and its kin name none
    if experts := getattr(config, "num_experts_per_tok", None):
        mlp = max(mlp, experts * (getattr(config, "moe_intermediate_size", None) or mlp))
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    return Widths(
        config.num_hidden_layers, hidden, heads, heads * head_size, key_heads * head_size, mlp, config.vocab_size
    )


class TrainingPass:
    """Forward, loss and backward of one batch of padded rows."""

    def __init__(self, model: PreTrainedModel) -> None:
        w = widths(model)
        layer = 6 * w.hidden + 3 * w.queries + 2 * w.keys + w.heads + 4 * w.mlp
        if any(name.endswith("q_norm.weight") for name, _ in model.named_parameters()):
            layer += 2 * (w.queries + w.keys)
        size = model.dtype.itemsize
        self.bytes_a_token = size * (w.layers * layer + 3 * w.hidden) + 4 * LOGITS * w.vocabulary
        self.score_bytes_a_token = size * w.layers * w.heads if _keeps_scores(model, w) else 0
        """For each token of its row."""

    def bytes(self, rows: int, longest: int) -> int:
        return rows * longest * (self.bytes_a_token + longest * self.score_bytes_a_token)


def _keeps_scores(model: PreTrainedModel, w: Widths) -> bool:
    """Whether sdpa has no fused kernel on this GPU for the model's causal attention. On CPUs it has one for all."""
    if model.device.type != "cuda":
        return False
    head_size, key_heads = w.queries // w.heads, w.keys * w.heads // w.queries
    query = torch.empty(1, w.heads, 16, head_size, device=model.device, dtype=model.dtype)
    key = torch.empty(1, key_heads, 16, head_size, device=model.device, dtype=model.dtype)
    # transformers' sdpa_attention_forward passes grouped keys on as they are.
    call = torch.backends.cuda.SDPAParams(query, key, key, None, 0.0, True, w.keys < w.queries)
    fused = (torch.backends.cuda.can_use_flash_attention, torch.backends.cuda.can_use_efficient_attention)
    return not any(usable(call) for usable in fused)


def sampling_bytes(model: PreTrainedModel, prompt: int, new_tokens: int) -> int:
    """Bytes of one row of sampling.sample at its longest: keys and values of all layers, and the most of one layer of them as it
    grows, a step's logits, and a layer of the prompt's pass."""
    w = widths(model)
    cache = 2 * w.keys * (prompt + new_tokens)
    # torch's plain attention repeats a layer's keys and values for all heads.
    grouped = 2 * w.queries * (prompt + new_tokens)
    first = prompt * (4 * w.hidden + 3 * w.queries + 2 * w.keys + 3 * w.mlp + w.heads * prompt)
    size = model.dtype.itemsize
    return size * w.layers * cache + max(size * (cache + grouped), size * first, 4 * SAMPLED_LOGITS * w.vocabulary)


def free_bytes(device: torch.device) -> int:
    """Bytes that can be had now; on a GPU with what torch keeps for reuse."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return psutil.virtual_memory().available


def gpu_bytes(device: torch.device) -> int | None:
    """All memory of a GPU; None of a CPU."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


def rows_at_once(model: PreTrainedModel, prompt: int, new_tokens: int, most: int) -> int:
    """Rows that sampling.sample may take: `most`, on a GPU the largest power of two up to it for which the memory suffices.

    The responses depend on the number of rows, so it may not depend on what is free at the moment: it follows from the size of the GPU's
    memory, of which the model in training takes four times its parameters in float32 (weights, gradients, Adam's two averages).
    """
    memory = gpu_bytes(model.device)
    if memory is None:
        return most
    training = 4 * 4 * model.num_parameters()
    fit = int(SAFETY * (memory - training)) // sampling_bytes(model, prompt, new_tokens)
    return most if fit >= most else 1 << max(max(fit, 0).bit_length() - 1, 0)
