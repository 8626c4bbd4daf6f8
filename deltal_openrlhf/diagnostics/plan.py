"""Memory and disk that a diagnosis takes, and the width of the sketch that follows from them. Sizes are in bytes.

--memory_gb bounds the memory beyond the model and one response's activations:

    gradients   sign bits of the sketch, the gradients that exist at once (two of the largest parameter), one row, logits
    Gram        N^2 x 4 for each layer type, one more matrix in float64 and one product, a block of rows
    statistics  those matrices and their own ones

A quarter of it is reserved for what can be cut into pieces: logits, and the block of rows. On a GPU the model and its gradients must fit
into the free memory. There, logits take at most a quarter of the remainder, because the activations of a response need space too.
"""

import shutil
from math import ceil, floor, log10
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from deltal_openrlhf.diagnostics.gradients import LOGIT_COPIES
from deltal_openrlhf.diagnostics.layers import layer_types
from deltal_openrlhf.diagnostics.sketch import sizes_by_type, temporary_bytes
from deltal_openrlhf.runs.errors import first_line

WIDTHS = (8192, 4096, 2048, 1024, 512, 256)
"""Those that "auto" tries, after whole gradients."""
GB = 10**9
SHARE = 0.25
STATISTICS = 48
"""Float32 matrices [N, N] that the statistics take in addition to the Gram matrices: 37 measured with N = 1024, 48 with N = 512."""


class ModelShape(NamedTuple):
    """The sizes of a model that are known without its weights."""

    sizes: dict[str, int]  # layer type -> parameters
    largest: int  # parameters in the largest tensor
    vocabulary: int

    @property
    def parameters(self) -> int:
        return sum(self.sizes.values())

    def dim(self, width: int | None) -> int:
        """Values in a row."""
        return sum(size if width is None else min(size, width) for size in self.sizes.values())


class Plan(NamedTuple):
    width: int | None  # of the sketch; None: gradients are kept whole
    tokens_a_pass: int  # trained tokens whose logits exist at once
    block_bytes: int  # of rows, read at a time
    rows_bytes: int  # on the disk


def read_shape(folder: Path) -> ModelShape:
    """Read config.json. Raises ValueError for a model that transformers does not know."""
    try:
        config = AutoConfig.from_pretrained(folder)
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder}: no causal language model of transformers: {first_line(error)}") from error
    sizes = sizes_by_type(model, layer_types(model))
    largest = max(parameter.numel() for parameter in model.parameters())
    return ModelShape(sizes, largest, config.get_text_config().vocab_size)


def make_plan(
    shape: ModelShape, responses: int, memory_gb: float, projection: str, gpu_bytes: int | None = None
) -> Plan:
    """projection: auto, full or a width. gpu_bytes: free on the GPU that computes the gradients; None: a CPU does.

    auto keeps gradients whole if all rows take no more than half of the memory, else it takes the largest of
    WIDTHS with which they do. Raises ValueError if the memory does not suffice, here or on the GPU.
    """
    memory = int(memory_gb * GB)
    if projection == "auto":
        fitting = (w for w in (None, *WIDTHS) if _needed(shape, responses, w, rows=True) <= memory)
        width = next(fitting, WIDTHS[-1])
        needed = _needed(shape, responses, width, rows=True)
    else:
        width = None if projection == "full" else int(projection)
        needed = _needed(shape, responses, width, rows=False)
    if needed > memory:
        raise ValueError(
            f"--memory_gb is {memory_gb:g}, which does not suffice for {responses} responses and {shape.parameters:,} parameters "
            f"({_named(width)}); allowed is {_rounded_up(needed / GB):g} or more"
        )
    share = logits = int(memory * SHARE)
    if gpu_bytes is not None:
        on_gpu = 4 * shape.parameters + _gradient_bytes(shape, width) + temporary_bytes(shape.largest, "cuda")
        logits = min(logits, int((gpu_bytes - on_gpu) * SHARE))
        if logits < LOGIT_COPIES * 4 * shape.vocabulary:
            raise ValueError(
                f"the GPU has {gpu_bytes / GB:.1f} GB free; {shape.parameters:,} parameters in float32 and their gradients "
                f"({_named(width)}) need {_rounded_up(on_gpu / GB):g}, and activations need more: take --device cpu or another GPU"
            )
    tokens = max(1, logits // (LOGIT_COPIES * 4 * shape.vocabulary))
    return Plan(width, tokens, share, responses * shape.dim(width) * 4)


def _needed(shape: ModelShape, responses: int, width: int | None, *, rows: bool) -> float:
    """The most that a stage takes. With rows, it is at least twice what all rows take."""
    matrix, types = 4 * responses**2, len(shape.sizes)
    return max(
        _gradient_bytes(shape, width) / (1 - SHARE),
        matrix * (types + 3) / (1 - SHARE),
        matrix * (types + STATISTICS),
        2 * 4 * responses * shape.dim(width) if rows else 0,
    )


def _gradient_bytes(shape: ModelShape, width: int | None) -> float:
    """The bytes of the signs, the two largest gradients and a row."""
    sketched = 0 if width is None else sum(size for size in shape.sizes.values() if size > width)
    return sketched / 8 + 2 * 4 * shape.largest + 4 * shape.dim(width)


def _named(width: int | None) -> str:
    return "--projection full" if width is None else f"--projection {width}"


def _rounded_up(value: float) -> float:
    """The number rounded up to two digits."""
    unit = 10.0 ** (floor(log10(value)) - 1)
    return ceil(value / unit) * unit


def check_disk(folder: Path, needed: int) -> None:
    """Raise ValueError unless the file system of the (future) folder has room for that many bytes."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise ValueError(
            f"--out {folder}: the gradients take {needed / GB:.1f} GB on the disk, free are {free / GB:.1f} GB; a smaller --projection "
            "takes less"
        )


def describe(plan: Plan, shape: ModelShape) -> str:
    """One line: "gradients by layer type, each sketched to 8192 values: 74 MB on the disk"."""
    how = "whole" if plan.width is None else f"sketched to {plan.width} values a layer type"
    return f"gradients of {shape.parameters:,} parameters, {how}: {plan.rows_bytes / 1e6:,.0f} MB on the disk"
