"""Checkpoints that every layout of the same model can load: Megatron-Core's sharded torch_dist format, and a readable state.json.

    save(engine, folder, state)       # on all ranks, into a shared folder
    state = load(engine, folder)      # on all ranks, in this layout or another

Parameters, fp32 main parameters and Adam's moments are saved under names that do not depend on the layout (Megatron-Core's
fully_reshardable form). Learning rate, betas and weight decay are not saved, because they come from the flags and the schedule.

Load only checkpoints that you made yourself: Megatron-Core and torch unpickle `.metadata` (and Transformer Engine's extra states).

A disk error on one rank is raised on all ranks. A rank that dies, or that runs out of memory while the others gather, leaves them waiting
until torch.distributed's timeout.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from megatron.core import dist_checkpointing, parallel_state
from megatron.core.dist_checkpointing.core import CheckpointingConfig, save_config
from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedTensor, is_main_replica
from megatron.core.dist_checkpointing.serialization import load_tensors_metadata
from megatron.core.dist_checkpointing.state_dict_utils import load_preprocess, save_preprocess
from megatron.core.dist_checkpointing.strategies.torch import MCoreSavePlanner, mcore_to_pyt_state_dict
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer
from torch.distributed import checkpoint as torch_checkpoint

from deltal_openrlhf.host.collectives import everyones, of_rank_0, on_all_ranks
from deltal_openrlhf.runs.files import write_atomically
from megatron_ext.engine import Engine

STATE = "state.json"
_FILES = ("metadata.json", "common.pt", ".metadata", STATE)  # the last one written says that the others are whole
_STEP = "optimizer_step"


def save(engine: Engine, folder: str, state: dict) -> None:
    """Write a checkpoint of an engine that learns. Collective.

    folder: empty or missing, the same for all ranks. state: everything else that the run needs to resume, in JSON's types, the same on all
    ranks. Raises ValueError for a folder that is not empty, and for a state that JSON does not keep (nan, inf, tuples, tensors, keys that
    are not strings). Raises RuntimeError or OSError if a rank could not write.

    The first data parallel rank gathers 12 bytes per parameter of its part of the model in host memory and writes them. With the values
    that it gathers from, it holds at most 20.
    """
    text = on_all_ranks(lambda: _prepare(folder, state))
    for optimizer in _optimizers(engine):
        _allocate(optimizer)
    shards = _shards(engine, is_loading=False) | {_STEP: _step(engine)}
    with _explained(folder):
        _write(shards, folder)
    of_rank_0(lambda: write_atomically(os.path.join(folder, STATE), text))


@torch.no_grad()
def load(engine: Engine, folder: str) -> dict:
    """Set parameters, fp32 main parameters, Adam's moments and step to those of a checkpoint. Returns the state given to save. Collective.

    Raises ValueError, before anything changes, for a folder that is not a complete checkpoint and for another model (names, shapes or
    dtypes). Raises RuntimeError if a rank could not read. Every rank takes 12 bytes per parameter of its part in host memory.
    """
    state, saved = on_all_ranks(lambda: _read(folder))
    shards = _shards(engine, is_loading=True)
    _check_same_model(shards, saved, folder)
    with _explained(folder):
        loaded = dist_checkpointing.load(shards, folder)
    for i, chunk in enumerate(engine.model.chunks):
        chunk.load_state_dict(loaded[f"model{i}"])
    for i, optimizer in enumerate(_optimizers(engine)):
        _restore(optimizer, loaded[f"optimizer{i}"], loaded[_STEP])
    return state


# ── What is saved ──


def _optimizers(engine: Engine) -> list[DistributedOptimizer]:
    """One for the experts too, where they are spread over ranks; without those that have nothing to do on this rank."""
    return [optimizer for optimizer in engine.optimizer.chained_optimizers if not optimizer.is_stub_optimizer]


def _shards(engine: Engine, *, is_loading: bool) -> dict:
    """{"model0": ..., "model1": ..., "optimizer0": ...}: what this rank has of each tensor. The names in the files are in the shards."""
    settings = {
        "dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True),
        "singleton_local_shards": False,
        # Gathered by Gloo on the rank that writes, not by NCCL on all of them.
        "distrib_optim_fully_reshardable_mem_efficient": True,
    }
    model = {f"model{i}": chunk.sharded_state_dict(metadata=settings) for i, chunk in enumerate(engine.model.chunks)}
    states = {
        f"optimizer{i}": optimizer.sharded_param_state_fully_reshardable(model, is_loading, settings)
        for i, optimizer in enumerate(_optimizers(engine))
    }
    return model | {name: state for name, state in states.items() if state is not None}


def _write(shards: dict, folder: str) -> None:
    """Megatron-Core's torch_dist files, as dist_checkpointing.save writes them, but by this process and with errors raised on all ranks.

    Megatron-Core 0.16.1 spawns a manager and forks a writer for each file, out of a process that may have threads (Ray, NCCL), and
    waits forever for a writer that died. If its rank 0 cannot write common.pt or metadata.json, its other ranks stay in a collective.
    """
    sharded, common = save_preprocess(shards)
    of_rank_0(lambda: torch.save(common, os.path.join(folder, "common.pt")))
    by_key: dict[str, list] = {}
    for shard in nested_values(sharded):
        if is_main_replica(shard.replica_id):
            key = shard.key if isinstance(shard, ShardedTensor) else shard.unique_key
            by_key.setdefault(key, []).append(shard)
    torch_checkpoint.save(
        mcore_to_pyt_state_dict(by_key),
        storage_writer=torch_checkpoint.FileSystemWriter(folder),
        planner=MCoreSavePlanner(flatten_state_dict=False, dedup_replicated_tensors=False),
    )
    of_rank_0(lambda: save_config(CheckpointingConfig("torch_dist", 1), folder))


# ── The optimizer ──
# The step is saved and restored here, not by DistributedOptimizer.load_state_dict, which in megatron-core 0.16.1 has two faults where
# neither Transformer Engine nor Apex is installed and torch's Adam keeps a step for every parameter: it raises KeyError "step", and it
# gives all parameters one step tensor, which then counts every parameter's update and breaks Adam's bias correction.
# tests/megatron_ext/test_checkpoint.py shows both. FusedAdam (Transformer Engine, Apex) keeps the step in its parameter groups.


def _keeps_step_per_parameter(optimizer: DistributedOptimizer) -> bool:
    return isinstance(optimizer.optimizer, torch.optim.Adam | torch.optim.AdamW)


def _step(engine: Engine) -> int:
    """How many updates the optimizer has made. 0 before the first, and on a rank that has none of the parameters."""
    steps = set()
    for optimizer in _optimizers(engine):
        if _keeps_step_per_parameter(optimizer):
            steps |= {int(values["step"]) for values in optimizer.optimizer.state.values()}
        else:
            steps |= {int(group.get("step", 0)) for group in optimizer.optimizer.param_groups if group["params"]}
    if len(steps) > 1:
        raise RuntimeError(f"the optimizer's step is not the same for all parameters: {sorted(steps)}")
    return steps.pop() if steps else 0


def _set_step(optimizer: DistributedOptimizer, step: int) -> None:
    for group in optimizer.optimizer.param_groups:
        if not _keeps_step_per_parameter(optimizer):
            group["step"] = step
            continue
        for parameter in group["params"]:
            optimizer.optimizer.state[parameter]["step"] = torch.tensor(float(step))


def _allocate(optimizer: DistributedOptimizer) -> None:
    """The state before the first update, where there is none yet."""
    if optimizer.optimizer.state:
        return
    for group in optimizer.optimizer.param_groups:
        for parameter in group["params"]:
            moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
            optimizer.optimizer.state[parameter].update(moments)
    _set_step(optimizer, 0)


def _restore(optimizer: DistributedOptimizer, saved: dict, step: int) -> None:
    """saved: {"param", "exp_avg", "exp_avg_sq"} of every parameter on this rank, whole; this rank's part of each is copied."""
    _allocate(optimizer)
    _remove_step(optimizer)
    optimizer.load_parameter_state_from_fully_reshardable(saved)
    _set_step(optimizer, step)


def _remove_step(optimizer: DistributedOptimizer) -> None:
    """What is not there Megatron-Core does not look for among the saved values."""
    for values in optimizer.optimizer.state.values():
        values.pop("step", None)


# ── Checks ──


def _prepare(folder: str, state: dict) -> str:
    """The text of state.json. Makes the folder."""
    try:
        text = json.dumps(state, sort_keys=True, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the state for checkpoint {folder} cannot be written as JSON: {error}") from None
    if json.loads(text) != state:
        raise ValueError(
            f"the state for checkpoint {folder} changes in JSON; allowed are lists, not tuples, and keys that are strings"
        )
    if dist.get_rank() == 0:
        os.makedirs(folder, exist_ok=True)
        if os.listdir(folder):
            raise ValueError(f"the folder for checkpoint {folder} is not empty")
    return text


def _read(folder: str) -> tuple[dict, dict]:
    """(state, {name of a tensor: [shape, dtype]}) of a checkpoint."""
    for name in _FILES:
        if not os.path.isfile(os.path.join(folder, name)):
            raise ValueError(f"{folder} is not a complete checkpoint: it has no {name}")
    state = json.loads(Path(folder, STATE).read_text(encoding="utf-8"))
    return state, _tensors(load_tensors_metadata(folder))


def _tensors(shards: dict) -> dict[str, str]:
    """{name: "[8, 32] of torch.float32"}, of whole tensors."""
    found = (shard for shard in nested_values(shards) if isinstance(shard, ShardedTensor))
    return {shard.key: f"{list(shard.global_shape)} of {shard.dtype}" for shard in found}


def _check_same_model(shards: dict, saved: dict[str, str], folder: str) -> None:
    """Raise ValueError, on all ranks the same, with the first tensor that is not the same in the model and in the checkpoint."""
    wanted = {key: shape for part in everyones(_tensors(load_preprocess(shards)[0])) for key, shape in part.items()}
    for key in sorted(wanted.keys() | saved.keys()):
        if wanted.get(key) != saved.get(key):
            raise ValueError(
                f"checkpoint {folder} is of another model: its {key} is {saved.get(key, 'missing')}, "
                f"the model's is {wanted.get(key, 'missing')}"
            )


# ── Errors on all ranks ──


@contextmanager
def _explained(folder: str) -> Iterator[None]:
    """torch raises the errors of all ranks on all ranks, as something that is no Exception, which `except Exception` lets pass."""
    try:
        yield
    except torch_checkpoint.CheckpointException as error:
        rank, (first, _) = min(error.failures.items(), key=lambda item: item[0])
        reason = " ".join(f"{type(first).__name__}: {first}".split())
        raise RuntimeError(f"checkpoint {folder} failed on rank {rank}: {reason}") from error
