"""Random partitions of the prompts into batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Partitions:
    """R random partitions of prompts into batches.

    steps: int [R, batches, B], the prompts of each batch. num_prompts: P. block: number of consecutive batches that are one block;
    batches of a block are not independent of each other (they share the normaliser of a rollout).
    """

    steps: np.ndarray
    num_prompts: int
    block: int = 1

    @classmethod
    def draw(
        cls, prompts: np.ndarray, batch_prompts: int, count: int, num_prompts: int, rng: np.random.Generator
    ) -> "Partitions":
        """`count` partitions of `prompts`. Each leaves out other prompts if some do not fill a batch."""
        batches = len(prompts) // batch_prompts
        order = rng.permuted(np.tile(prompts, (count, 1)), axis=1)[:, : batches * batch_prompts]
        return cls(order.reshape(count, batches, batch_prompts), num_prompts)

    def in_blocks(self, size: int) -> "Partitions":
        """The same partitions in blocks of `size` batches, without the batches that do not fill a block."""
        return Partitions(self.steps[:, : self.steps.shape[1] // size * size], self.num_prompts, size)

    def pieces(self, elements: int) -> Iterator[tuple[slice, "Partitions"]]:
        """A few partitions at a time, so that their [R, batches, P] has about that many elements, and the places they have in R."""
        count, batches, _ = self.steps.shape
        size = max(1, elements // max(1, batches * self.num_prompts))
        for start in range(0, count, size):
            place = slice(start, min(start + size, count))
            yield place, Partitions(self.steps[place], self.num_prompts, self.block)

    @property
    def blocks(self) -> int:
        return self.steps.shape[1] // self.block

    def rollouts(self) -> np.ndarray:
        """int [R, batches, block * B]: the prompts of each batch's block."""
        count, batches, width = self.steps.shape
        return np.repeat(self.steps.reshape(count, self.blocks, self.block * width), self.block, axis=1)

    def block_of(self) -> np.ndarray:
        """int [R, P]: the block that holds each prompt, `blocks` where none does."""
        count, _, width = self.steps.shape
        found = np.full((count, self.num_prompts), self.blocks)
        block = np.repeat(np.arange(self.blocks), self.block * width)
        np.put_along_axis(found, self.steps.reshape(count, -1), block[None], axis=1)
        return found

    def totals(self, values: np.ndarray) -> np.ndarray:
        """[R, batches, ...]: values [P, ...] summed over the prompts of each batch."""
        total = values[self.steps[:, :, 0]]
        for k in range(1, self.steps.shape[2]):
            total += values[self.steps[:, :, k]]
        return total

    def pair_totals(self, matrix: np.ndarray) -> np.ndarray:
        """[R, batches, batches]: matrix [P, P] summed over the prompts of each pair of batches."""
        rows = self.totals(matrix)
        total = np.take_along_axis(rows, self.steps[:, None, :, 0], axis=2)
        for k in range(1, self.steps.shape[2]):
            total += np.take_along_axis(rows, self.steps[:, None, :, k], axis=2)
        return total
