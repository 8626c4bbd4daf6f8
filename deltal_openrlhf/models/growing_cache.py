"""A cache of keys and values with room for more: transformers' own copies all of it for every token."""

from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer


class GrowingLayer(DynamicLayer):
    """A DynamicLayer whose tensors double when they are full. keys and values, [B, heads, tokens, head size], are views of them.

    For sampling: without gradients. most: tokens of the longest row, beyond which there is no need for room.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self._rooms = [states[:, :, :0] for states in (key_states, value_states)]

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        if after > self._rooms[0].shape[-2]:
            self._move(slice(None), max(after, min(2 * before, self._most)))
        for room, states in zip(self._rooms, (key_states, value_states), strict=True):
            room[:, :, before:after] = states
        self.keys, self.values = (room[:, :, :after] for room in self._rooms)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        if (used := self.get_seq_length()) > 0:
            self._move(indices, self._rooms[0].shape[-2])
            self.keys, self.values = (room[:, :, :used] for room in self._rooms)

    def _move(self, rows: Tensor | slice, tokens: int) -> None:
        """Take these rows into new tensors with room for so many tokens."""
        used, moved = self.get_seq_length(), []
        for room in self._rooms:
            old = room[rows, :, :used] if used else room
            new = old.new_empty(old.shape[0], room.shape[1], tokens, room.shape[3])
            new[:, :, :used] = old
            moved.append(new)
        self._rooms = moved


def growing_cache(model: PreTrainedModel, most: int) -> DynamicCache:
    """An empty cache for the model and rows of at most so many tokens. Layers with a window keep transformers' own way."""
    cache = DynamicCache(config=model.config)
    cache.layers = [GrowingLayer(most) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
