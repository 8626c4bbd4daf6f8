"""Converts responses to Megatron-Core's form, and per-token values back to OpenRLHF's layout.

OpenRLHF's micro batch is a padded matrix, sequences and attention_mask [num_responses, num_tokens]. Here every response is reduced to its
tokens without padding. Then the batch becomes one of two forms:

- packed: one row of all responses, one after the other, with their borders (thd)
- padded: a matrix, filled up on the right

Each response is filled up to a multiple of `multiple` tokens, which context and sequence parallelism need. With context parallelism a
response is cut into 2 cp chunks, and rank r holds chunks r and 2 cp - 1 - r. This is Transformer Engine's layout, which gives equal work
under a causal mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class ModelInputs:
    """The inputs of one rank's model: local tensors [rows, tokens / cp], and if packed the borders of the responses (of all ranks
    together).

    source: [num_values], the place of every value in the uncut row. row, column: its place in OpenRLHF's matrix.
    """

    tokens: Tensor
    labels: Tensor
    positions: Tensor
    padding: Tensor
    borders: Tensor | None
    longest: int
    slots: tuple[Tensor, ...]
    source: Tensor
    row: Tensor
    column: Tensor
    shape: tuple[int, int]


def model_inputs(
    sequences: Tensor,
    attention_mask: Tensor,
    *,
    packed: bool,
    multiple: int,
    context_size: int = 1,
    context_rank: int = 0,
) -> ModelInputs:
    """sequences, attention_mask: [num_responses, num_tokens], padded on either side. multiple: ParallelLayout.row_multiple."""
    device = sequences.device
    keep = [mask.nonzero().flatten() for mask in attention_mask.bool()]
    padded = [_round_up(max(len(k), 1), multiple) for k in keep]
    if not packed:
        padded = [max(padded)] * len(padded)
    starts = [sum(padded[:i]) for i in range(len(padded))]
    total = sum(padded)

    tokens, labels, positions = (torch.zeros(total, dtype=torch.long, device=device) for _ in range(3))
    padding = torch.ones(total, dtype=torch.bool, device=device)
    source, row, column = [], [], []
    for i, (start, k) in enumerate(zip(starts, keep, strict=True)):
        part, count = slice(start, start + len(k)), max(len(k) - 1, 0)
        tokens[part] = sequences[i, k]
        labels[start : start + count] = sequences[i, k[1:]]
        positions[start : start + padded[i]] = torch.arange(padded[i], device=device)
        padding[part] = False
        source.append(torch.arange(start, start + count, device=device))
        row.append(torch.full((count,), i, device=device))
        column.append(k[:count])

    slots = tuple(_context_slots(starts, padded, rank, context_size).to(device) for rank in range(context_size))
    rows = 1 if packed else len(keep)
    mine = slots[context_rank]
    tokens, labels, positions, padding = (
        values[mine].view(rows, -1) for values in (tokens, labels, positions, padding)
    )
    borders = torch.tensor([*starts, total], dtype=torch.int32, device=device) if packed else None
    shape = (sequences.shape[0], sequences.shape[1] - 1)
    # `longest` as it is: rounded up it could equal all tokens of the row, for which Megatron-Core counts positions over all responses.
    places = torch.cat(source), torch.cat(row), torch.cat(column)
    return ModelInputs(tokens, labels, positions, padding, borders, max(padded), slots, *places, shape)


def to_matrix(values: Tensor, inputs: ModelInputs, group: dist.ProcessGroup | None) -> Tensor:
    """Convert local values [rows, tokens / cp] to OpenRLHF's matrix [num_responses, num_tokens - 1]. The value of token t + 1 is in column
    t.

    With context parallelism every rank gets the values of all. The gradient flows only into its own, so gradients add up over the group.
    """
    if group is None or group.size() == 1:
        whole = values.flatten()
    else:
        own = values.flatten().contiguous()
        parts = [torch.empty_like(own) for _ in range(group.size())]
        dist.all_gather(parts, own.detach(), group=group)
        parts[group.rank()] = own
        whole = own.new_empty(own.numel() * group.size()).index_copy(0, torch.cat(inputs.slots), torch.cat(parts))
    matrix = values.new_zeros(inputs.shape)
    return matrix.index_put((inputs.row, inputs.column), whole[inputs.source])


def cut_by_tokens(lengths: Sequence[int], budget: int, *, packed: bool, at_least: int = 0) -> list[list[int]]:
    """The indices of the responses of every micro batch, each with at most `budget` tokens, padding included.

    It is first fit, longest first. Then the largest micro batches are halved until there are `at_least` (the number that another rank
    needs), as far as they hold more than one response. Raises ValueError for a response that is longer than the budget.
    """
    micro_batches: list[list[int]] = []

    def tokens(members: list[int]) -> int:
        return sum(lengths[i] for i in members) if packed else len(members) * max(lengths[i] for i in members)

    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if lengths[i] > budget:
            raise ValueError(
                f"a response has {lengths[i]} tokens, more than --megatron.max_tokens_per_micro_batch, {budget}"
            )
        fitting = next((members for members in micro_batches if tokens([*members, i]) <= budget), None)
        if fitting is None:
            micro_batches.append(fitting := [])
        fitting.append(i)
    while len(micro_batches) < at_least and any(len(members) > 1 for members in micro_batches):
        largest = max((members for members in micro_batches if len(members) > 1), key=tokens)
        micro_batches.remove(largest)
        micro_batches += [largest[::2], largest[1::2]]
    return micro_batches


def cut_by_number(num_responses: int, size: int) -> list[list[int]]:
    """The indices of the responses of every micro batch: `size` each, and the rest in the last one."""
    return [list(range(i, min(i + size, num_responses))) for i in range(0, num_responses, size)]


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _context_slots(starts: list[int], lengths: list[int], rank: int, size: int) -> Tensor:
    """The places in the uncut row that this context parallel rank holds, in its order."""
    if size == 1:
        return torch.arange(sum(lengths))
    parts = []
    for start, length in zip(starts, lengths, strict=True):
        chunk = length // (2 * size)
        for number in (rank, 2 * size - 1 - rank):
            parts.append(torch.arange(start + number * chunk, start + (number + 1) * chunk))
    return torch.cat(parts)
