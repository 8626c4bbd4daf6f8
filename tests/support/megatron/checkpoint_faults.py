"""What the processes of test_checkpoint.py try beside whole runs: another optimizer, Megatron-Core's faults, errors."""

import multiprocessing.process
import os
import shutil
import threading
from typing import Any

from support.megatron.checkpoint_runs import DP2, LAYOUTS, ON_ONE, ON_TWO, PP2, SAVED, TP2, Run, raised

from deltal_openrlhf.host.rebind import rebound


def two_ranks(rank: int, folder: str) -> dict:
    run = Run(folder)
    for name in SAVED:
        run.save(name)
    found = {f"{name} to {target}": run.resume(name, LAYOUTS[target]) for name, target in ON_TWO}
    found |= {"fused": fused(run), "faults": faults(run), "errors": errors(run), "processes": processes(run)}
    found["unrounded"] = unrounded(run)
    found["undisturbed"] = [run.error(run.trained(name), name) for name in ("first-tp2", "dense-tp2")]
    return found


def one_rank(rank: int, folder: str) -> dict:
    run = Run(folder)
    return {name: run.resume(name, {}) for name in ON_ONE}


def unrounded(run: Run) -> bool:
    """Whether the saved main parameters of the bf16 run are more than bf16 can hold."""
    from megatron.core.dist_checkpointing import load_plain_tensors

    tensors = load_plain_tensors(f"{run.folder}/bf16-tp2")
    main = [tensor for key, tensor in tensors.items() if key.startswith("optimizer.state.param.")]
    return any(bool((tensor != tensor.bfloat16().float()).any()) for tensor in main)


def fused(run: Run) -> list:
    """[error with FusedAdam after a checkpoint of torch's AdamW, and the other way round, whether the step is in the groups alone]"""
    import torch
    from megatron.core import optimizer as package
    from megatron.core.optimizer import distrib_optimizer

    from megatron_ext import checkpoint

    class FusedAdam(torch.optim.Optimizer):
        """Its state in Transformer Engine: moments for a parameter, the step in the group."""

        def __init__(self, params, lr, weight_decay, betas, eps, adam_w_mode) -> None:
            super().__init__(params, dict(lr=lr, weight_decay=weight_decay, betas=betas, eps=eps))

        @torch.no_grad()
        def step(self) -> None:
            for group in self.param_groups:
                group["step"] = group.get("step", 0) + 1
                first, second = group["betas"]
                for p in group["params"]:
                    state = self.state[p]
                    if not state:
                        state.update(exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
                    state["exp_avg"].lerp_(p.grad, 1 - first)
                    state["exp_avg_sq"].lerp_(p.grad**2, 1 - second)
                    mean = state["exp_avg"] / (1 - first ** group["step"])
                    variance = state["exp_avg_sq"] / (1 - second ** group["step"])
                    p.sub_(group["lr"] * mean / (variance.sqrt() + group["eps"]))

    with (
        rebound(package, "Adam", FusedAdam),
        rebound(package, "USING_PYTORCH_OPTIMIZER", False),
        rebound(distrib_optimizer, "Adam", FusedAdam),
        rebound(distrib_optimizer, "HAVE_APEX_OR_TE", True),
        rebound(distrib_optimizer, "USING_TE_OPTIMIZER", True),
    ):
        engine = run.engine("qwen2", "float32", TP2)
        checkpoint.load(engine, f"{run.folder}/dense-dp2")
        inner = engine.optimizer.chained_optimizers[0].optimizer
        assert type(inner) is FusedAdam
        in_groups = all(g["step"] == 2 for g in inner.param_groups) and not any(
            "step" in s for s in inner.state.values()
        )
        checkpoint.save(engine, f"{run.folder}/fused", {})
        there = run.error(engine, "dense-dp2")
    engine = run.engine("qwen2", "float32", PP2)
    checkpoint.load(engine, f"{run.folder}/fused")
    return [there, run.error(engine, "dense-dp2"), in_groups]


def faults(run: Run) -> dict:
    """The faults of megatron-core 0.16.1 that the module goes round, there and in the module without what it does about them."""
    import torch
    from megatron.core import dist_checkpointing, parallel_state

    from megatron_ext import checkpoint

    found: dict = {}
    engine = run.trained("dense-tp2")
    settings = {
        "distrib_optim_sharding_type": "fully_reshardable",
        "dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True),
    }

    def shards(is_loading: bool) -> dict:
        model = engine.model.chunks[0].sharded_state_dict(metadata=settings)
        return {"optimizer": engine.optimizer.sharded_state_dict(model, is_loading, metadata=settings)}

    os.makedirs(f"{run.folder}/own", exist_ok=True)
    checkpoint._write(shards(False), f"{run.folder}/own")
    loaded = dist_checkpointing.load(shards(True), f"{run.folder}/own")
    found["own load"] = raised(lambda: engine.optimizer.load_state_dict(loaded["optimizer"]))
    engine = run.trained("dense-tp2")
    engine.optimizer.load_state_dict(engine.optimizer.state_dict())
    found["own step"] = run.error(engine, "dense-tp2")

    def share_step(optimizer, step: int) -> None:
        shared = torch.tensor(float(step))
        for values in optimizer.optimizer.state.values():
            values["step"] = shared

    found["kept step"] = run.resumed_with("dense-tp2", "_remove_step", lambda optimizer: None)
    found["shared step"] = run.resumed_with("dense-tp2", "_set_step", share_step)
    return found


def processes(run: Run) -> list:
    """[what save raises where neither processes nor threads can be started, what Megatron-Core's own way raises, objects]"""
    from megatron.core import dist_checkpointing

    from megatron_ext import checkpoint

    def refuse(self) -> None:
        raise RuntimeError("started")

    # Both ranks have something to write: one without waits for ever for one that failed, in Megatron-Core's own way.
    engine = run.engine("qwen2", "float32", TP2)
    run.step(engine)
    os.makedirs(f"{run.folder}/forked", exist_ok=True)
    with (
        rebound(multiprocessing.process.BaseProcess, "start", refuse),
        rebound(threading.Thread, "start", refuse),
    ):
        own = raised(lambda: checkpoint.save(engine, f"{run.folder}/alone", {}))
        shards = checkpoint._shards(engine, is_loading=False)
        theirs = raised(lambda: dist_checkpointing.save(shards, f"{run.folder}/forked"))
    return [own, theirs, objects(run)]


def objects(run: Run) -> list:
    """What Transformer Engine's extra states are, of one shard on each rank, through the writer and back."""
    from megatron.core import dist_checkpointing
    from megatron.core.dist_checkpointing.mapping import ShardedObject

    from megatron_ext import checkpoint

    def shards(value: Any) -> dict:
        return {"extra": ShardedObject("extra", value, (2,), (run.rank,))}

    os.makedirs(f"{run.folder}/objects", exist_ok=True)
    checkpoint._write(shards({"rank": run.rank}), f"{run.folder}/objects")
    return dist_checkpointing.load(shards(None), f"{run.folder}/objects")["extra"]


def errors(run: Run) -> dict:
    """What save and load raise on this rank."""
    import torch
    from torch.distributed.checkpoint import FileSystemWriter

    from megatron_ext import checkpoint

    def refuse(name: str, layout: dict, source: str) -> bool:
        """Whether the model that does not take the checkpoint is as it was."""
        engine = run.engine(name, "float32", layout)
        before = [parameter.clone() for _, parameter in engine.model.named_parameters()]
        found[f"{name} {source}"] = raised(checkpoint.load, engine, f"{run.folder}/{source}")
        return all(map(torch.equal, before, (parameter for _, parameter in engine.model.named_parameters())))

    def no_space(*given) -> None:
        raise OSError(28, "No space left on device")

    found: dict = {}
    engine = run.engine("qwen2", "float32", DP2)
    for name, state in (("nan", {"x": float("nan")}), ("tensor", {"x": torch.ones(1)}), ("keys", {1: 2})):
        found[name] = raised(checkpoint.save, engine, f"{run.folder}/never", state)
    found["full"] = raised(checkpoint.save, engine, f"{run.folder}/dense-tp2", {})
    with rebound(FileSystemWriter, "write_data", FileSystemWriter.write_data if run.rank else no_space):
        found["disk"] = raised(checkpoint.save, engine, f"{run.folder}/broken", {})
    for name, owner, function in (("common.pt", torch, "save"), ("metadata.json", checkpoint, "save_config")):
        with rebound(owner, function, getattr(owner, function) if run.rank else no_space):
            found[name] = raised(checkpoint.save, engine, f"{run.folder}/without {name}", {})
    if run.rank == 0:
        shutil.copytree(f"{run.folder}/dense-tp2", f"{run.folder}/part")
        os.remove(f"{run.folder}/part/__1_0.distcp")
    torch.distributed.barrier()
    refused = [("qwen2", DP2, source) for source in ("broken", "nowhere", "tied-tp2", "moe-ep2", "bf16-tp2")]
    found["unchanged"] = all([refuse(*each) for each in (*refused, ("wide", TP2, "dense-tp2"))])
    found["part"] = raised(checkpoint.load, run.engine("qwen2", "float32", DP2), f"{run.folder}/part")
    return found
