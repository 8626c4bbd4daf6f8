"""The bytes of GPU memory that one rank of a Megatron run takes, part by part, on paper. No torch.

t: tokens of a micro batch on one context parallel rank. T, C, P, V, D: tensor, context, pipeline, virtual pipeline, data parallel size. h,
f: hidden and intermediate size; q, k: query and key (or value) features of all heads. S: T with sequence parallelism, else 1.

States follow arXiv 1910.02054 (ZeRO-1: optimizer states split, gradients not), as Megatron-Core's distributed optimizer keeps them:

    weights      2 bytes a parameter (bf16), in one buffer
    gradients    4 bytes (fp32 main gradients), in one buffer
    optimizer   12 bytes / (D C): fp32 main parameters and Adam's two moments; experts over the ranks that hold the same ones

Activations of one layer follow arXiv 2205.05198 (equation 2 and section 4.2). The layer here has RMSNorm, rotary embeddings, grouped
queries and SwiGLU, and no dropout. Flash attention saves no scores (no s^2 term). In bytes, bf16:

    2 norms, inputs and outputs           8 t h / S          (4 t h each: x, and norm(x), which the linear layer saves)
    queries, keys, values, output         t (4 q + 4 k) / T  and 4 t heads / T for the softmax
    SwiGLU, fused                         t 6 f / T          (gate and value 4 f, their product 2 f)
    rotary embedding                      fused, by Transformer Engine: nothing; unfused 8 t head_dim, the cosines and sines

A chunk of layers keeps the angles of the fused rotary embedding once, 4 t head_dim. Full recomputation keeps them too. A layer then keeps
its input, 2 t h / S, and one layer at a time has all of its activations.

In flight, 1F1B keeps P - stage micro batches (at most as many as there are). The interleaved schedule keeps 2 (P - stage - 1) + (V - 1) P +
1 chunks of layers / (P V) (arXiv 2104.04473, section 2.2; megatron-core 0.16.1, schedules.py).

The last stage computes log-probabilities in chunks (logprob.py). It holds no [t, vocab / T], but [chunk, vocab / T] in bf16 and twice in
fp32. It also holds the output layer's gradient, in fp32 and once more in bf16.

Fragmentation of the allocator, contexts, NCCL's buffers and Transformer Engine's workspace are not included. The reserve is for those.
"""

import math
from dataclasses import asdict, dataclass

from megatron_ext.layout import ParallelLayout
from megatron_ext.planning.shape import ModelShape, rank_parameters

GIB = 2**30
WEIGHT, GRADIENT, OPTIMIZER = 2, 4, 12
"""Bytes a parameter."""
HALF, SINGLE = 2, 4
"""Bytes of a bf16 and of an fp32 value."""


@dataclass(frozen=True)
class Workload:
    """The work that every layout has to hold. Tokens are those of one replica, all context parallel ranks together.

    micro_batch_tokens: as --megatron.max_tokens_per_micro_batch. micro_batches: those of one replica in an optimizer step. chunk_size: as
    --megatron.logprob_chunk_size. reference: whether a reference model lies next to the policy. fused_rope: true for Transformer Engine's
    modules, false for plain ones.
    """

    micro_batch_tokens: int
    micro_batches: int
    chunk_size: int
    reference: bool = False
    fused_rope: bool = True


@dataclass(frozen=True)
class StageMemory:
    """The bytes on one rank of a pipeline stage while it trains."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    workspace: int
    logits: int
    reference: int

    @property
    def total(self) -> int:
        return sum(asdict(self).values())


def stage_memory(
    shape: ModelShape, layout: ParallelLayout, world: int, work: Workload, *, stage: int, recompute: bool
) -> StageMemory:
    """On one rank of `stage`, in bytes. world: ranks in all."""
    chunks = rank_parameters(shape, layout, stage)
    ranks, expert_ranks = reduction_ranks(layout, world)
    buckets = [chunk.buckets(ranks, expert_ranks) for chunk in chunks]
    elements = sum(map(sum, buckets))
    local = local_tokens(layout, work)
    row = local // (layout.tensor if layout.sequence_parallel else 1)  # tokens of a hidden state between two layers
    layer = layer_activations(shape, layout, local, fused_rope=work.fused_rope)

    layers = shape.num_hidden_layers // (layout.pipeline * (layout.virtual_pipeline or 1))
    kept = layers * (row * shape.hidden_size * HALF if recompute else layer)
    if recompute or work.fused_rope:
        kept += local * shape.head_dim * SINGLE  # the angles, if one response has all tokens
    # The interleaved schedule holds an output until its micro batch comes back; the other one frees it, and is counted the same.
    kept += row * shape.hidden_size * HALF if layout.pipeline > 1 else 0
    activations = kept * chunks_in_flight(layout, stage, work.micro_batches) + (layer if recompute else 0)

    last = stage == layout.pipeline - 1
    if last:
        activations += head_activations(shape, layout, local)
    return StageMemory(
        weights=WEIGHT * elements,
        gradients=GRADIENT * elements,
        optimizer=sum(OPTIMIZER * (dense // ranks + expert // expert_ranks) for dense, expert in buckets),
        activations=activations,
        workspace=_workspace(shape, layout, local),
        logits=_logits(shape, layout, local, work.chunk_size) if last else 0,
        reference=WEIGHT * sum(sum(c.dense) + sum(c.expert) + sum(c.shared) for c in chunks) if work.reference else 0,
    )


def peak_memory(
    shape: ModelShape, layout: ParallelLayout, world: int, work: Workload, *, recompute: bool
) -> StageMemory:
    """The memory of the pipeline stage that takes most."""
    stages = (
        stage_memory(shape, layout, world, work, stage=stage, recompute=recompute) for stage in range(layout.pipeline)
    )
    return max(stages, key=lambda memory: memory.total)


def reduction_ranks(layout: ParallelLayout, world: int) -> tuple[int, int]:
    """Ranks over which gradients and optimizer states are split: of dense layers (D C), and of experts."""
    dense = world // (layout.tensor * layout.pipeline)
    return dense, world // (layout.expert_tensor * layout.expert * layout.pipeline)


def local_tokens(layout: ParallelLayout, work: Workload) -> int:
    """t: tokens of a micro batch on one context parallel rank, padded to what the layout needs."""
    multiple = layout.row_multiple
    return math.ceil(work.micro_batch_tokens / multiple) * multiple // layout.context


def chunks_in_flight(layout: ParallelLayout, stage: int, micro_batches: int) -> int:
    """Forward passes of a model chunk that wait for their backward pass on `stage` at the worst moment, that one included."""
    behind = layout.pipeline - stage - 1
    if layout.virtual_pipeline is None:
        return min(behind + 1, micro_batches)
    pieces = layout.virtual_pipeline
    return min(2 * behind + (pieces - 1) * layout.pipeline + 1, micro_batches * pieces)


def layer_activations(shape: ModelShape, layout: ParallelLayout, tokens: int, *, fused_rope: bool) -> int:
    """Bytes that one layer saves for backward, of `tokens` on this context parallel rank. Experts: as if routing were even."""
    h, q, k, t = shape.hidden_size, shape.query_size, shape.key_value_size, layout.tensor
    row = tokens // (t if layout.sequence_parallel else 1)
    norms = 2 * (2 * row * h * HALF + row * SINGLE)
    attention = tokens * (2 * q + 2 * k) * HALF // t + tokens * shape.num_attention_heads * SINGLE // t
    attention += 0 if fused_rope else 4 * tokens * shape.head_dim * HALF
    if shape.qk_norm:
        # The norm of the keys holds queries, keys and values as they came; several groups of queries have been copied.
        copied = q if shape.num_key_value_heads > t else 0
        attention += tokens * (q + 2 * k + copied) * HALF // t
        attention += tokens * (shape.num_attention_heads + shape.num_key_value_heads) * SINGLE // t
    if not shape.num_experts:
        return norms + attention + tokens * 3 * shape.intermediate_size * HALF // t
    # Every token goes to num_experts_per_tok experts; a rank gets as many as it sends. Saved: logits and probabilities of the router,
    # the tokens as the experts get them, and SwiGLU, which multiplies the probability in.
    routed = row * shape.num_experts_per_tok * layout.expert_tensor
    experts = routed * (h + 3 * shape.moe_intermediate_size // layout.expert_tensor) * HALF
    return norms + attention + experts + 2 * row * shape.num_experts * SINGLE


def head_activations(shape: ModelShape, layout: ParallelLayout, tokens: int) -> int:
    """Bytes of the last stage next to its layers: the last norm's input, the hidden states of the log-probabilities (of all tokens,
    gathered under sequence parallelism), and 25 bytes a token of those."""
    row = tokens // (layout.tensor if layout.sequence_parallel else 1)
    return (row + tokens) * shape.hidden_size * HALF + row * SINGLE + 25 * tokens


def _workspace(shape: ModelShape, layout: ParallelLayout, tokens: int) -> int:
    """What backward holds at once for a moment: gradients of the wider half of a layer, the gathered input and its gradient, and the
    largest weight's gradient in bf16 before it is added to the fp32 one."""
    h, t = shape.hidden_size, layout.tensor
    if shape.num_experts:
        row = tokens // (t if layout.sequence_parallel else 1)
        routed = row * shape.num_experts_per_tok
        wide = 3 * routed * shape.moe_intermediate_size + routed * layout.expert_tensor * h
        weight = 2 * h * shape.moe_intermediate_size // layout.expert_tensor * (shape.num_experts // layout.expert)
    else:
        wide = 3 * tokens * shape.intermediate_size // t
        weight = 2 * h * shape.intermediate_size // t
    return (wide + 2 * tokens * h + weight) * HALF


def _logits(shape: ModelShape, layout: ParallelLayout, tokens: int, chunk_size: int) -> int:
    rows = shape.vocab_size // layout.tensor
    chunk = min(chunk_size, tokens) * rows * (HALF + 2 * SINGLE)
    return chunk + rows * shape.hidden_size * (SINGLE + HALF) + tokens * shape.hidden_size * HALF
