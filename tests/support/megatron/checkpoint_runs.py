"""What the processes of test_checkpoint.py do: train, save, and go on in another layout."""

import warnings

from deltal_openrlhf.host.rebind import rebound

TP2, PP2, DP2, CP2, EP2 = dict(tensor=2), dict(pipeline=2), dict(), dict(context=2), dict(expert=2)
INTERLEAVED = dict(pipeline=2, virtual_pipeline=2)
# checkpoint: (model, dtype, layout it is saved from)
SAVED = {
    "dense-tp2": ("qwen2", "float32", TP2),
    "first-tp2": ("qwen2", "float32", TP2),  # before the first step; the others after two
    "dense-dp2": ("qwen2", "float32", DP2),
    "dense-interleaved": ("qwen2", "float32", INTERLEAVED),
    "tied-tp2": ("tied", "float32", TP2),
    "tied-pp2": ("tied", "float32", PP2),
    "moe-ep2": ("moe", "float32", EP2),
    "bf16-tp2": ("qwen2", "bfloat16", TP2),
}
LAYOUTS = {"tp2": TP2, "pp2": PP2, "dp2": DP2, "cp2": CP2, "ep2": EP2, "interleaved": INTERLEAVED}
ON_TWO = [
    ("dense-tp2", "tp2"),
    ("dense-tp2", "pp2"),
    ("dense-tp2", "dp2"),
    ("dense-tp2", "interleaved"),
    ("first-tp2", "pp2"),
    ("dense-dp2", "cp2"),
    ("dense-interleaved", "tp2"),
    ("tied-tp2", "pp2"),
    ("moe-ep2", "ep2"),
    ("moe-ep2", "dp2"),
    ("bf16-tp2", "tp2"),
    ("bf16-tp2", "dp2"),
]
ON_ONE = ["dense-dp2", "tied-pp2", "moe-ep2"]
STATE = {"schedule": {"steps": 2}, "consumed": 64, "a": [1.5, None, "x"]}


class Run:
    """Engines, one after the other, on the same data: two micro batches a step, shared out over the data parallel ranks."""

    def __init__(self, folder: str) -> None:
        warnings.filterwarnings("ignore")
        import torch
        import torch.distributed as dist

        from megatron_ext import cpu

        dist.init_process_group("gloo")
        cpu.install()
        generator = torch.Generator().manual_seed(0)
        self.folder, self.rank = folder, dist.get_rank()
        mask = torch.ones(2, 9, dtype=torch.long)
        self.data = [(torch.randint(0, 128, (2, 9), generator=generator), mask) for _ in range(2)]

    def engine(self, model: str, dtype: str, layout: dict):
        import torch

        from megatron_ext.engine import Engine, OptimizerSettings
        from megatron_ext.groups import another_layout
        from megatron_ext.layout import ParallelLayout
        from megatron_ext.model import MegatronModel, ModelSettings, initialize

        sizes = ParallelLayout(**layout)
        with another_layout():
            initialize(sizes, 1)
        parts = MegatronModel(ModelSettings(f"{self.folder}/{model}", getattr(torch, dtype), 64), sizes)
        # eps above the rounding errors in gradients that are zero (key biases)
        return Engine(parts, packed=False, optimizer=OptimizerSettings(lr=1e-2, eps=1e-3))

    def step(self, engine) -> None:
        import torch.distributed as dist

        replicas, replica = dist.get_world_size() // engine.layout.replica, dist.get_rank() // engine.layout.replica
        engine.gradients(self.data[replica::replicas], lambda number, log_probs, entropy: -log_probs.sum() / 10)
        engine.update()

    def trained(self, name: str):
        engine = self.engine(*SAVED[name])
        for _ in range(0 if name.startswith("first") else 2):
            self.step(engine)
        return engine

    def save(self, name: str) -> None:
        """What the parameters are after the next step goes beside it."""
        import torch.distributed as dist
        from safetensors.torch import save_file

        from megatron_ext import checkpoint

        engine = self.trained(name)
        checkpoint.save(engine, f"{self.folder}/{name}", STATE)
        self.step(engine)
        expected = {key: tensor.clone().contiguous() for key, tensor in engine.model.export()}
        if self.rank == 0:
            save_file(expected, f"{self.folder}/{name}.safetensors")
        dist.barrier()

    def error(self, engine, name: str) -> float:
        """Take the next step; the largest difference of a parameter to the run that never stopped."""
        from safetensors.torch import load_file

        self.step(engine)
        expected = load_file(f"{self.folder}/{name}.safetensors")
        found = dict(engine.model.export())
        assert found.keys() == expected.keys()
        return max((found[key].float() - expected[key].float()).abs().max().item() for key in found)

    def resume(self, name: str, layout: dict) -> list:
        """[state, whether a checkpoint saved again is bit for bit the same, error after the next step]"""
        import torch.distributed as dist
        from megatron.core.dist_checkpointing import load_plain_tensors

        from megatron_ext import checkpoint

        model, dtype, _ = SAVED[name]
        engine = self.engine(model, dtype, layout)
        self.step(engine)  # so that there is something wrong in every place
        state = checkpoint.load(engine, f"{self.folder}/{name}")
        again = f"{self.folder}/again-{name}-{dist.get_world_size()}-{'-'.join(layout)}"
        checkpoint.save(engine, again, {})
        saved, copy = load_plain_tensors(f"{self.folder}/{name}"), load_plain_tensors(again)
        same = saved.keys() == copy.keys() and all(identical(saved[key], copy[key]) for key in saved)
        return [state, same, self.error(engine, name)]

    def resumed_with(self, name: str, replaced: str, replacement) -> float | str:
        """The error after the next step with a function of the checkpoint module replaced; or what it raised."""
        from megatron_ext import checkpoint

        engine = self.engine(*SAVED[name])
        self.step(engine)
        with rebound(checkpoint, replaced, replacement):
            return raised(lambda: checkpoint.load(engine, f"{self.folder}/{name}")) or self.error(engine, name)


def identical(value, other) -> bool:
    import torch

    tensors = torch.as_tensor(value), torch.as_tensor(other)
    return tensors[0].dtype == tensors[1].dtype and torch.equal(*tensors)


def raised(function, *arguments) -> str | None:
    try:
        function(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None
