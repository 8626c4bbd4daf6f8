"""The moving average of the weights (--train.enable_ema), in float32, divided over the ranks, and saved with every checkpoint.

The host averages in the model's own dtype, where a share of 0.008 of a small change rounds to nothing in bf16. With ZeRO-3 it writes into
gathered parameters, and DeepSpeed drops the change when it divides them again. It also resets the average in every resumed run.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor


class WeightAverage:
    """average = beta average + (1 - beta) parameter, for every trained parameter. All methods are collective.

    model: the host's second model, as prepared by its strategy. The average starts from it, and it exports the average (fill). Every rank
    of the policy holds the same parameters, whole or divided by ZeRO-3, so each keeps one part of every average. The average takes 4 bytes
    per parameter over all ranks together. It lies where the second model is, with ZeRO-3 in the CPU's memory.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._engine = model.model
        self._rank, self._world = dist.get_rank(), dist.get_world_size()
        self._is_divided = self._engine.zero_optimization_partition_weights()
        self._parts = {name: part.clone() for name, part in self._parts_of(self._engine)}

    @torch.no_grad()
    def update(self, model: Any, beta: float) -> None:
        """Add the parameters after an optimizer step. model: the policy."""
        for name, part in self._parts_of(model.model, trained_only=True):
            average = self._parts[name]
            average.lerp_(part.to(average.device), 1 - beta)

    @torch.no_grad()
    def fill(self) -> None:
        """Write the average into the second model, in its own dtype."""
        for name, parameter in self._engine.module.named_parameters():
            whole = self._whole(name, _shape(parameter))
            with self._gathered(parameter, modifier_rank=0):
                if self._rank == 0 or not self._is_divided:
                    parameter.copy_(whole)

    def save(self, path: Path) -> None:
        """Write the average on rank 0, which holds 4 bytes per parameter in the CPU's memory meanwhile."""
        tensors = {}
        for name, parameter in self._engine.module.named_parameters():
            whole = self._whole(name, _shape(parameter))
            if self._rank == 0:
                tensors[name] = whole.cpu()
        if self._rank == 0:
            save_file(tensors, path)

    def load(self, path: Path) -> None:
        """Continue from a saved average. Raises ValueError for that of another model.

        The file is mapped: of every tensor a rank copies its own part only.
        """
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            if names != self._parts.keys():
                odd = sorted(names ^ self._parts.keys())[0]
                raise ValueError(f"{path} is of another model: {odd} is only in one of the two")
            for name, average in self._parts.items():
                average.copy_(self._part(file.get_tensor(name)))

    def _parts_of(self, engine: Any, trained_only: bool = False) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in engine.module.named_parameters():
            if parameter.requires_grad or not trained_only:
                with self._gathered(parameter):
                    part = self._part(parameter.detach())
                yield name, part.to(self._device(parameter))

    def _gathered(self, parameter: Tensor, modifier_rank: int | None = None) -> AbstractContextManager:
        return deepspeed.zero.GatheredParameters([parameter], modifier_rank=modifier_rank, enabled=self._is_divided)

    def _device(self, parameter: Any) -> torch.device:
        device: torch.device = parameter.ds_tensor.device if self._is_divided else parameter.device
        return device

    def _part(self, whole: Tensor) -> Tensor:
        """This rank's part in float32, of one size on all ranks. Zeros fill up the last ones."""
        size = -(-whole.numel() // self._world)
        part = whole.flatten()[self._rank * size : (self._rank + 1) * size].float()
        return torch.nn.functional.pad(part, (0, size - part.numel()))

    def _whole(self, name: str, shape: torch.Size) -> Tensor:
        part = self._parts[name].to(torch.cuda.current_device())
        parts = [torch.empty_like(part) for _ in range(self._world)]
        dist.all_gather(parts, part)
        return torch.cat(parts)[: shape.numel()].view(shape)


def _shape(parameter: Any) -> torch.Size:
    """Of the whole parameter: ZeRO-3 leaves nothing of it in its place."""
    return getattr(parameter, "ds_shape", parameter.shape)
