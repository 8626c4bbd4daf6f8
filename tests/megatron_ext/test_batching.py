"""Rows of tokens and micro batches against plain Python, token by token. No processes: the ranks are built one after the other."""

import random

import pytest
import torch

from megatron_ext.batching import cut_by_number, cut_by_tokens, model_inputs, to_matrix

LENGTHS = [[7], [1, 1], [5, 1, 12, 0], [3, 8, 8, 2, 6], [0, 0]]  # 0: no token at all, 1: no token to predict
GRID = [(lengths, side) for lengths in LENGTHS for side in ("left", "right")]
SIZES = [
    (packed, m, cp)
    for packed in (False, True)
    for m in (1, 2, 4, 8)
    for cp in (1, 2, 4)
    if m % (2 * cp) == 0 or cp == 1
]


def make_matrix(lengths, side):
    """Token ids that are all different and not 0, padded with 0 on one side to one column more than the longest."""
    width = max(lengths) + 1
    sequences, mask = torch.zeros(2, len(lengths), width, dtype=torch.long)
    for i, n in enumerate(lengths):
        part = slice(0, n) if side == "right" else slice(width - n, width)
        sequences[i, part] = torch.arange(100 * i + 1, 100 * i + n + 1)
        mask[i, part] = 1
    return sequences, mask


def uncut_row(sequences, mask, packed, multiple):
    """[(token, label, position, is padding, (response, column) of the value or None)] of all responses, each filled up."""
    rows = []
    for i in range(len(sequences)):
        columns = [t for t in range(sequences.shape[1]) if mask[i, t]]
        row = []
        for p, t in enumerate(columns):
            last = p == len(columns) - 1
            row.append(
                (int(sequences[i, t]), 0 if last else int(sequences[i, t + 1]), p, False, None if last else (i, t))
            )
        rows.append(row)
    padded = [max(len(row), 1) for row in rows]
    while any(n % multiple for n in padded):
        padded = [n + 1 if n % multiple else n for n in padded]
    if not packed:
        padded = [max(padded)] * len(rows)
    for row, length in zip(rows, padded, strict=True):
        row += [(0, 0, p, True, None) for p in range(len(row), length)]
    return rows


def rank_part(rows, rank, size):
    """What Transformer Engine expects on a context parallel rank: of every response chunks rank and 2 size - 1 - rank."""
    if size == 1:
        return [list(row) for row in rows]
    parts = []
    for row in rows:
        n = len(row) // (2 * size)
        chunks = [row[k * n : (k + 1) * n] for k in range(2 * size)]
        parts.append(chunks[rank] + chunks[2 * size - 1 - rank])
    return parts


@pytest.mark.parametrize("packed,multiple,size", SIZES)
@pytest.mark.parametrize("lengths,side", GRID)
def test_every_rank_gets_its_part_and_the_values_find_their_place(lengths, side, packed, multiple, size):
    sequences, mask = make_matrix(lengths, side)
    rows = uncut_row(sequences, mask, packed, multiple)
    flat, places = [value for row in rows for value in row], []
    wanted, matrix = torch.zeros(2, len(lengths), sequences.shape[1] - 1)
    for rank in range(size):
        inputs = model_inputs(sequences, mask, packed=packed, multiple=multiple, context_size=size, context_rank=rank)
        parts = rank_part(rows, rank, size)
        expected = [sum(parts, [])] if packed else parts
        for number, got in enumerate((inputs.tokens, inputs.labels, inputs.positions, inputs.padding)):
            assert got.tolist() == [[value[number] for value in row] for row in expected]
        assert [flat[place] for place in inputs.slots[rank].tolist()] == sum(parts, [])
        places += inputs.slots[rank].tolist()
        ends = [sum(len(row) for row in rows[:i]) for i in range(len(rows) + 1)]
        assert (inputs.borders.tolist() if packed else inputs.borders) == (ends if packed else None)
        assert inputs.longest == max(len(row) for row in rows)

        # Every rank alone: what it computed lands where its tokens are, and nowhere else.
        whole = torch.zeros(len(flat))
        whole[inputs.slots[rank]] = inputs.slots[rank].float() + 1
        matrix += to_matrix(whole, inputs, None)
    for place, value in enumerate(flat):
        if value[4]:
            wanted[value[4]] = place + 1
    assert sorted(places) == list(range(len(flat)))  # the ranks share the row out, each token once
    assert torch.equal(matrix, wanted)
    assert (wanted != 0).sum() == sum(max(n - 1, 0) for n in lengths)


def test_a_value_has_the_gradient_of_its_place():
    sequences, mask = make_matrix([4, 2], "left")
    inputs = model_inputs(sequences, mask, packed=True, multiple=4)
    values = torch.randn(1, 8, requires_grad=True)
    factors = torch.arange(8.0).view(2, 4)
    (to_matrix(values, inputs, None) * factors).sum().backward()
    # Response 0 predicts from columns 1 to 3, response 1 from column 3; what comes from padding or predicts nothing has none.
    assert values.grad.tolist() == [[1.0, 2.0, 3.0, 0.0, 7.0, 0.0, 0.0, 0.0]]


def cost(lengths, members, packed):
    return sum(lengths[i] for i in members) if packed else len(members) * max(lengths[i] for i in members)


@pytest.mark.parametrize("packed", [False, True])
def test_every_response_is_in_one_micro_batch_within_the_budget(packed):
    draw = random.Random(0)
    for _ in range(400):
        lengths = [draw.randint(1, 40) for _ in range(draw.randint(0, 30))]
        budget = draw.randint(max(lengths, default=1), 160)
        least = draw.randint(0, 35)
        cut = cut_by_tokens(lengths, budget, packed=packed, at_least=least)
        assert sorted(sum(cut, [])) == list(range(len(lengths)))
        assert all(cut) and all(cost(lengths, members, packed) <= budget for members in cut)
        free = cut_by_tokens(lengths, budget, packed=packed)
        assert len(cut) == max(len(free), min(least, len(lengths)))
        # First fit: no two of the micro batches would have fitted together when the smaller one was opened.
        if packed:
            assert all(
                cost(lengths, a, True) + max(lengths[i] for i in b) > budget
                for a, b in zip(free, free[1:], strict=False)
            )


def test_fixed_micro_batches():
    assert cut_by_tokens([4, 4, 4, 4], 8, packed=True) == [[0, 1], [2, 3]]
    # Padded, a long one and a short one are two long ones.
    assert sorted(map(sorted, cut_by_tokens([10, 2, 2], 14, packed=True))) == [[0, 1, 2]]
    assert sorted(map(sorted, cut_by_tokens([10, 2, 2], 14, packed=False))) == [[0], [1, 2]]
    assert cut_by_number(7, 3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert cut_by_number(3, 3) == [[0, 1, 2]]
    assert cut_by_number(0, 3) == []


def test_a_response_above_the_budget_is_refused_in_one_line():
    with pytest.raises(ValueError) as error:
        cut_by_tokens([5, 17, 3], 16, packed=True)
    assert str(error.value) == "a response has 17 tokens, more than --megatron.max_tokens_per_micro_batch, 16"
