"""Gram matrices of score vectors by layer type, from rows on the disk."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from deltal_openrlhf.runs.files import write_all_atomically


def gram_matrices(rows: np.ndarray, columns: Mapping[str, slice], block_bytes: int) -> dict[str, np.ndarray]:
    """Layer type -> float32 [N, N] of <s_i, s_j> over its columns.

    rows: float32 [N, dim], a memory map, of which never more than block_bytes are read at a time. Products are float32, sums over
    blocks of columns float64.
    """
    step = max(1, block_bytes // (4 * len(rows)))
    grams = {}
    for kind, place in columns.items():
        total = np.zeros((len(rows), len(rows)))
        for start in range(place.start, place.stop, step):
            block = np.array(rows[:, start : min(start + step, place.stop)])
            total += block @ block.T
        grams[kind] = total.astype(np.float32)
    return grams


def save_grams(path: Path, grams: Mapping[str, np.ndarray]) -> None:
    """Write the whole file or none of it. No second copy is made in memory."""
    write_all_atomically({path: lambda file: np.savez(file, allow_pickle=False, **grams)})


def load_grams(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return {kind: archive[kind] for kind in archive.files}
