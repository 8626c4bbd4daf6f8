"""Exports full tensors under their Hugging Face names, one by one for vLLM, and as a folder that transformers and vLLM load."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from deltal_openrlhf.runs.files import write_atomically
from megatron_ext.model import MegatronModel
from megatron_ext.model_files import copy_settings

SHARD_BYTES = 4 * 1024**3


class ExportedParameter:
    """Replaces a parameter of the whole model while the host walks over them. `data` exists from __enter__ to __exit__.

    tensors: from MegatronModel.export, shared by all parameters in its order. Raises RuntimeError if they are out of order.
    """

    requires_grad = True
    data: Tensor

    def __init__(self, name: str, tensors: Iterator[tuple[str, Tensor]]) -> None:
        self.name, self._tensors = name, tensors

    @property
    def shape(self) -> torch.Size:
        return self.data.shape

    @property
    def dtype(self) -> torch.dtype:
        return self.data.dtype

    def __enter__(self) -> None:
        name, data = next(self._tensors, (None, None))
        if name != self.name or data is None:
            raise RuntimeError(
                f"the export gives {name} where {self.name} is due: parameters are not sent in its order"
            )
        self.data = data

    def __exit__(self, *error: Any) -> None:
        del self.data


def buckets(tensors: Iterable[tuple[str, Tensor]], limit: int) -> Iterator[list[tuple[str, Tensor]]]:
    """Lists of (name, tensor) of up to `limit` bytes. A larger tensor is alone in its list. The lists are the same on every rank."""
    bucket: list[tuple[str, Tensor]] = []
    size = 0
    for name, tensor in tensors:
        if bucket and size + tensor.nbytes > limit:
            yield bucket
            bucket, size = [], 0
        bucket.append((name, tensor))
        size += tensor.nbytes
    if bucket:
        yield bucket


def write_model(model: MegatronModel, folder: str, *, write: bool) -> None:
    """Write configuration, generation settings and the weights in shards with their index, on ranks where `write` is true. Collective."""
    if write:
        os.makedirs(folder, exist_ok=True)
        copy_settings(model.settings.path, folder, model.settings.dtype)
    shards: list[list[str]] = []
    total = 0
    # Off the GPU one by one; a rank that does not write keeps sizes only.
    kept = ((name, tensor.to("cpu" if write else "meta", copy=True).contiguous()) for name, tensor in model.export())
    for bucket in buckets(kept, SHARD_BYTES):
        shards.append([name for name, _ in bucket])
        total += sum(tensor.nbytes for _, tensor in bucket)
        if write:
            save_file(dict(bucket), os.path.join(folder, f"shard-{len(shards)}.tmp"), metadata={"format": "pt"})
    if not write:
        return
    for old in Path(folder).glob("model*.safetensors*"):  # of a model that was here before; transformers might load it
        old.unlink()
    files = [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    if len(files) == 1:
        files = ["model.safetensors"]
    for number, file in enumerate(files, start=1):
        os.replace(os.path.join(folder, f"shard-{number}.tmp"), os.path.join(folder, file))
    if len(files) > 1:
        weight_map = {name: file for file, names in zip(files, shards, strict=True) for name in names}
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_atomically(os.path.join(folder, "model.safetensors.index.json"), json.dumps(index, indent=2))
