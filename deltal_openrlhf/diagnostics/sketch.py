"""Gradients by layer type, whole or as a count sketch, which keeps inner products without bias (Charikar, Chen, Farach-Colton 2002).

Each coordinate j of a layer type goes to a bucket b(j) with a sign s(j):

    (R x)_k = sum over j with b(j) = k of s(j) x_j        E <R x, R y> = <x, y>

The flat parameters stand in rows of `width` columns; coordinate (row, column) goes to bucket (column + shift of the row) mod width. Shifts
are uniform and independent, and so are signs. Two coordinates meet with probability 1 / width (two of one row never do), and

    Var <R x, R y> <= (|x|^2 |y|^2 + <x, y>^2) / width,   so |R x|^2 has a relative standard deviation of at most sqrt(2 / width).
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from deltal_openrlhf.diagnostics.sample import TYPES
from deltal_openrlhf.statistics.seeds import seed_of

_WORD = 32
"""Rows whose signs stand in the bits of one int32 row: signs take a 32nd of the parameters' memory."""
_BLOCK = {"cpu": 1 << 18, "cuda": 1 << 25}
"""Coordinates handled at a time, with 16 bytes of temporaries each. On a CPU these stay in the cache of a core. On a GPU a block is about
ten kernel launches: half a GB holds any matrix of a 3B model whole, so that one response takes thousands of launches and not 100,000.
"""
_SIGN_BIT = -(1 << 31)


def sizes_by_type(model: nn.Module, types: Mapping[str, str]) -> dict[str, int]:
    """Layer type -> number of its parameters, in order of display."""
    sizes = dict.fromkeys(TYPES, 0)
    for name, parameter in model.named_parameters():
        sizes[types[name]] += parameter.numel()
    return {kind: size for kind, size in sizes.items() if size}


def temporary_bytes(largest: int, device_type: str) -> int:
    """The temporary memory of `add` for a parameter with that many coordinates: indices, signs and gathered values."""
    return 16 * min(largest, _BLOCK[device_type])


def relative_error(width: int | None) -> float:
    """Relative standard deviation of a sketched squared norm (its bound); 0 without a sketch."""
    return 0.0 if width is None else math.sqrt(2 / width)


class Sketch:
    """Where each parameter's gradient goes in a row of `dim` float32 values.

    width: a power of two. columns: layer type -> its slice of a row. A type with no more parameters than the width is kept whole; width
    None keeps all.
    """

    def __init__(self, model: nn.Module, types: Mapping[str, str], width: int | None, seed: int) -> None:
        self.columns: dict[str, slice] = {}
        self.dim = 0
        sizes = sizes_by_type(model, types)
        for kind, size in sizes.items():
            taken = size if width is None else min(size, width)
            self.columns[kind] = slice(self.dim, self.dim + taken)
            self.dim += taken
        whole = {kind: self.columns[kind].start for kind, size in sizes.items() if width is None or size <= width}
        self._parts: dict[str, _Whole | _Hashed] = {}
        for name, parameter in model.named_parameters():
            kind = types[name]
            if kind in whole:
                self._parts[name] = _Whole(slice(whole[kind], whole[kind] + parameter.numel()))
                whole[kind] += parameter.numel()
            else:
                assert width is not None
                self._parts[name] = _Hashed(self.columns[kind], parameter, width, seed_of(seed, name))

    def add(self, name: str, gradient: Tensor, row: Tensor) -> None:
        """Add the part of one parameter to a row. gradient: float32, contiguous; its values are lost (signs are set in place)."""
        self._parts[name].add(gradient.view(-1), row)


class _Whole:
    def __init__(self, place: slice) -> None:
        self._place = place

    def add(self, gradient: Tensor, row: Tensor) -> None:
        row[self._place] += gradient


class _Hashed:
    def __init__(self, place: slice, parameter: Tensor, width: int, seed: int) -> None:
        self._place, self._width = place, width
        rows = -(-parameter.numel() // width)
        generator = torch.Generator().manual_seed(seed)
        words = (-(-rows // _WORD), width)
        # Drawn on the CPU, so that they are the same on every device.
        bits = torch.randint(-(1 << 31), 1 << 31, words, generator=generator, dtype=torch.int32)
        self._bits = bits.to(parameter.device)
        self._shifts = torch.randint(0, width, (rows,), generator=generator).to(parameter.device)

    def add(self, gradient: Tensor, row: Tensor) -> None:
        width = self._width
        whole = gradient.numel() // width * width
        self._add_rows(gradient[:whole].view(-1, width), 0, row[self._place])
        if whole < gradient.numel():
            last = gradient.new_zeros(1, width)
            last[0, : gradient.numel() - whole] = gradient[whole:]
            self._add_rows(last, whole // width, row[self._place])

    def _add_rows(self, rows: Tensor, first: int, total: Tensor) -> None:
        """rows: [n, width], which are the rows first, first + 1, ... of the parameter."""
        columns = torch.arange(self._width, device=rows.device)
        step = max(1, _BLOCK[rows.device.type] // self._width)
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            number = torch.arange(first + start, first + start + len(block), device=rows.device)
            signs = self._bits[number // _WORD].bitwise_left_shift_((number % _WORD).to(torch.int32)[:, None])
            block.view(torch.int32).bitwise_xor_(signs.bitwise_and_(_SIGN_BIT))
            # What arrives in bucket k comes from column k - shift, modulo a power of two.
            sources = (columns - self._shifts[number, None]).bitwise_and_(self._width - 1)
            total += block.gather(1, sources).sum(0)
