"""Tiny models and engines for the tests that run on ranks of their own."""

import os
import warnings
from pathlib import Path
from typing import Any

MODELS = {
    "qwen2": dict(model="qwen2"),
    "qwen3": dict(model="qwen3"),
    "llama": dict(model="llama"),
    "tied": dict(model="llama", tied=True),
    "tied2": dict(model="qwen2", tied=True),
    "moe": dict(model="qwen3_moe"),
}
ADAM = {"lr": 1e-2, "betas": (0.9, 0.95), "eps": 1e-3, "weight_decay": 0.01}


def write_models(folder: Path, *names: str, dtype: str = "float32") -> None:
    """Hugging Face folders of four layers, folder/name, every parameter random."""
    import torch

    from megatron_ext.parity.cases import ShardedCase, build_model

    for name in names:
        build_model(ShardedCase(**MODELS[name])).to(getattr(torch, dtype)).save_pretrained(folder / name)


def start(folder: str) -> None:
    """A process group; what Megatron-Core and the host print goes to a file, so that test output stays readable."""
    warnings.filterwarnings("ignore")
    with open(os.path.join(folder, f"log-{os.getpid()}"), "w", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
    import torch.distributed as dist

    dist.init_process_group("gloo")


def make_engine(
    path: str, layout: dict, *, packed: bool = False, learns: bool = True, dtype="float32", **settings: Any
):
    """An engine in a layout of its own: Megatron-Core's groups are made anew."""
    import torch

    from megatron_ext.engine import Engine, OptimizerSettings
    from megatron_ext.groups import another_layout
    from megatron_ext.layout import ParallelLayout
    from megatron_ext.model import MegatronModel, ModelSettings, initialize

    sizes = ParallelLayout(**layout)
    with another_layout():
        initialize(sizes, 1)
    model = MegatronModel(ModelSettings(path, getattr(torch, dtype), chunk_size=7, **settings), sizes)
    return Engine(model, packed=packed, optimizer=OptimizerSettings(**ADAM, max_norm=0.5) if learns else None)


def parameters(engine) -> dict:
    """Copies of the full tensors by Hugging Face name."""
    return {name: tensor.float().clone() for name, tensor in engine.model.export()}


def gradients(engine) -> dict:
    """The full reduced gradient by Hugging Face name."""
    from megatron_ext.parity import sharded

    sharded._gather_gradients(engine)
    return sharded._export_gradients(engine)
