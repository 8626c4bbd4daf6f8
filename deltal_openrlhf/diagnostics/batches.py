"""Moments of batch gradients, from many random partitions of the prompts into batches.

A partition divides the P prompts into disjoint batches of B. Two batches of one partition share no prompt, so <G_b, G_b'> is an unbiased
estimate of |E G|^2: a batch's noise does not count as its mean. Averages over many partitions use nearly every way to form batches. The
averages over batches without prompt p equal the same estimate without p (jackknife.py).

A batch gradient is scale_b * sum of v_p over its prompts (methods.py), so everything here is a quadratic form of [P, P] matrices.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deltal_openrlhf.diagnostics.partitions import Partitions
from deltal_openrlhf.statistics.jackknife import Replicates

PIECE = 1 << 20
"""Elements of [R, batches, P] at a time: some ten arrays of 8 MB, however many batches the partitions have."""


@dataclass(frozen=True)
class PromptGradients:
    """One method on the level of prompts, v_p = sum of u_i A_i s_i over the responses to p.

    gram: [P, P], <v_p, v_q>. cross: [P, P], <v_p, reference's v_q>. weights, squares: [P], sums of u_i and of u_i^2.
    """

    gram: np.ndarray
    cross: np.ndarray
    weights: np.ndarray
    squares: np.ndarray


def prompt_gradients(
    gram: np.ndarray, profile: np.ndarray, advantages: np.ndarray, reference: np.ndarray
) -> PromptGradients:
    """gram: [N, N] of score vectors, responses in the order of prompts. profile, advantages: [P, n]. reference: [P, n], its u_i A_i."""
    prompts, n = profile.shape
    own = profile * advantages
    rows = (gram * own.reshape(-1, 1)).reshape(prompts, n, -1).sum(axis=1)  # [P, N], <v_p, s_i>

    def sums(right: np.ndarray) -> np.ndarray:
        return (rows * right.reshape(1, -1)).reshape(prompts, prompts, n).sum(axis=2)

    return PromptGradients(sums(own), sums(reference), profile.sum(axis=1), (profile**2).sum(axis=1))


class LeaveOut:
    """Averages of one partition over its batches or pairs of batches: over all of them, and without each prompt's block."""

    def __init__(self, partitions: Partitions) -> None:
        self.block, self.blocks, self.block_of = partitions.block, partitions.blocks, partitions.block_of()

    def means(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """values: [R, batches]. Returns the average over batches [R] and without each prompt's block [R, P]; needs two blocks."""
        sums = values.reshape(len(values), self.blocks, self.block).sum(axis=2)
        total = sums.sum(axis=1, keepdims=True)
        return self._averages(total, total - sums, self.blocks * self.block, (self.blocks - 1) * self.block)

    def pairs(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """values: [R, batches, batches]. The same over ordered pairs of batches of different blocks; needs three blocks."""
        count, g, k = len(values), self.blocks, self.block
        sums = values.reshape(count, g, k, g, k).sum(axis=(2, 4))
        within = np.diagonal(sums, axis1=1, axis2=2)
        total = (sums.sum(axis=(1, 2)) - within.sum(axis=1))[:, None]
        touching = sums.sum(axis=1) + sums.sum(axis=2) - 2 * within
        return self._averages(total, total - touching, g * (g - 1) * k**2, (g - 1) * (g - 2) * k**2)

    def _averages(
        self, total: np.ndarray, without: np.ndarray, count: int, count_without: int
    ) -> tuple[np.ndarray, np.ndarray]:
        full = total / count
        table = np.concatenate([without / count_without, full], axis=1)
        return full[:, 0], np.take_along_axis(table, self.block_of, axis=1)


def batch_moments(
    method: PromptGradients,
    reference: PromptGradients,
    scales: np.ndarray,
    reference_scales: np.ndarray,
    partitions: Partitions,
) -> Replicates:
    """Moments of a method's batch gradient G, the reference's F and independent batches G', F'.

        square            E|G|^2
        mean              |EG|^2 = E<G, G'>
        cross             <EG, EF> = E<G, F'>
        own               E<G, EG>/|G| = E<G/|G|, G'>
        toward            E<G, EF>/|G| = E<G/|G|, F'>
        ess               E (sum x)^2 / sum x^2, effective sample size
        reference_square  E|F|^2
        reference_mean    |EF|^2

    scales, reference_scales: [R, batches], of the method and of the reference.
    """
    pieces = [
        _moments_of_piece(method, reference, scales[place], reference_scales[place], piece)
        for place, piece in partitions.pieces(PIECE)
    ]
    moments = {name: _joined([found[name] for found, _ in pieces]) for name in pieces[0][0]}
    # A pair of prompts at the mean scale; in |G|^2 it counts where one batch holds both.
    width = partitions.steps.shape[2]
    scale, reference_scale = width * scales.mean(), width * reference_scales.mean()
    mean, cross_mean = scale**2 * method.gram, scale * reference_scale * method.cross
    reference_mean = reference_scale**2 * reference.gram
    together, inverse_norm = 1 - 1 / width, np.concatenate([inverse for _, inverse in pieces]).mean()
    pairs = {
        "square": together * mean,
        "mean": mean,
        "cross": cross_mean,
        "own": inverse_norm * mean,
        "toward": inverse_norm * cross_mean,
        "reference_square": together * reference_mean,
        "reference_mean": reference_mean,
    }
    return Replicates.of(moments, pairs)


def _moments_of_piece(
    method: PromptGradients,
    reference: PromptGradients,
    scales: np.ndarray,
    reference_scales: np.ndarray,
    partitions: Partitions,
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], np.ndarray]:
    """The moments of these partitions, and 1 / |G| of each batch."""
    own = partitions.pair_totals(method.gram) * scales[:, :, None] * scales[:, None]
    cross = partitions.pair_totals(method.cross) * scales[:, :, None] * reference_scales[:, None]
    other = partitions.pair_totals(reference.gram) * reference_scales[:, :, None] * reference_scales[:, None]
    square = np.maximum(np.diagonal(own, axis1=1, axis2=2), 0)
    norm = np.sqrt(np.where(square > 0, square, np.inf))[:, :, None]  # a gradient of 0 has cosine 0
    weights, squares = partitions.totals(method.weights), partitions.totals(method.squares)
    ess = np.divide(weights**2, squares, out=np.zeros_like(squares), where=squares > 0)
    leave_out = LeaveOut(partitions)
    found = {
        "square": leave_out.means(square),
        "mean": leave_out.pairs(own),
        "cross": leave_out.pairs(cross),
        "own": leave_out.pairs(own / norm),
        "toward": leave_out.pairs(cross / norm),
        "ess": leave_out.means(ess),
        "reference_square": leave_out.means(np.diagonal(other, axis1=1, axis2=2)),
        "reference_mean": leave_out.pairs(other),
    }
    return found, 1 / norm[:, :, 0]


def mean_square(method: PromptGradients, scales: np.ndarray, partitions: Partitions) -> Replicates:
    """E|G|^2 alone, as the moment "square"; two blocks of batches are enough for it."""
    pieces = []
    for place, piece in partitions.pieces(PIECE):
        square = np.diagonal(piece.pair_totals(method.gram), axis1=1, axis2=2) * scales[place] ** 2
        pieces.append(LeaveOut(piece).means(square))
    return Replicates.of({"square": _joined(pieces)}, {})


def _joined(pieces: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    draws, left_out = zip(*pieces, strict=True)
    return np.concatenate(draws), np.concatenate(left_out)
