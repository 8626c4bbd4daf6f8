"""Counts what a rank of a Megatron model keeps in memory, in its own process, for check_plan.py.

The plain modules run without Transformer Engine and on any device, but keep more than it does (fp32 norms, attention scores). So norm and
attention are replaced while activations are counted. The replacements save what Transformer Engine's save (MemoryTwin...). Everything
around them is Megatron-Core's own.
"""

from contextlib import ExitStack, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

import torch
import torch.distributed as dist

from deltal_openrlhf import cpu
from deltal_openrlhf.host.rebind import rebound
from megatron_ext.layout import ParallelLayout

RESPONSES = (192, 64)
"""Tokens of the responses of the micro batch; multiples of what every layout below needs."""
CHUNK_SIZE = 64
VOCABULARY = 1000


class MemoryTwinNorm(torch.autograd.Function):
    """Saves what Transformer Engine's RMSNorm saves: its input, the weight, and one fp32 number a row."""

    @staticmethod
    def forward(ctx, x, weight, eps):
        scale = torch.rsqrt(x.float().pow(2).mean(-1) + eps)
        ctx.save_for_backward(x, weight, scale)
        return (x.float() * scale[..., None]).to(x.dtype) * weight

    @staticmethod
    def backward(ctx, gradient):
        return gradient, torch.zeros_like(ctx.saved_tensors[1]), None


class MemoryTwinAttention(torch.autograd.Function):
    """Saves what flash attention saves: queries, keys, values, output, and one fp32 number a row and head. Computes nothing."""

    @staticmethod
    def forward(ctx, query, key, value):
        query, key, value = (x.contiguous() for x in (query, key, value))
        output = query.clone().flatten(-2)
        ctx.save_for_backward(query, key, value, output, query.new_zeros(query.shape[:-1], dtype=torch.float32))
        return output

    @staticmethod
    def backward(ctx, gradient):
        query, key, value, *_ = ctx.saved_tensors
        return gradient.view_as(query), torch.zeros_like(key), torch.zeros_like(value)


@contextmanager
def memory_twins():
    """Norms and attention that save as much as Transformer Engine's, in place of the plain ones."""
    from megatron_ext import plain_modules

    with ExitStack() as stack:
        stack.enter_context(rebound(plain_modules, "_rms_norm", MemoryTwinNorm.apply))
        attend = lambda self, query, key, value, *args, **kwargs: MemoryTwinAttention.apply(query, key, value)  # noqa: E731
        stack.enter_context(rebound(plain_modules.CausalAttention, "forward", attend))
        yield


class Saved:
    """Bytes that modules save for backward during their forward passes, each storage once, parameters left out."""

    def __init__(self, excluded: set[int]) -> None:
        self.excluded, self.open, self.bytes = excluded, [], {}

    def watch(self, name: str, module: torch.nn.Module) -> None:
        module.register_forward_pre_hook(lambda *_: self.open.append({}))
        module.register_forward_hook(lambda *_: self._close(name))

    def _close(self, name: str) -> None:
        size = sum(storage.nbytes() for storage in self.open.pop().values())
        self.bytes[name] = max(size, self.bytes.get(name, 0))

    def pack(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.excluded:
            for storages in self.open:
                storages[storage.data_ptr()] = storage  # held, so that no other gets its address
        return tensor


def measure(rank: int, cases: list[dict], folder: str) -> list[dict]:
    """For every case, on this rank: bytes of weights, gradients and optimizer; chunk, layer: saved by the model chunk and, at most, by one
    of its layers."""
    from megatron.core import parallel_state

    from megatron_ext.model import initialize

    dist.init_process_group("gloo" if cpu.is_needed() else "nccl")
    results = []
    for case in cases:
        layout = ParallelLayout(**case["layout"])
        initialize(layout, seed=0)
        with redirect_stdout(StringIO()):  # mbridge says how many parameters there are
            results.append(_measure(str(Path(folder) / case["model"]), layout, case["recompute"]))
        results[-1]["stage"] = rank // (layout.tensor * layout.context) % layout.pipeline
        parallel_state.destroy_model_parallel()
    dist.destroy_process_group()
    return results


def _measure(folder: str, layout: ParallelLayout, recompute: bool) -> dict:
    from megatron_ext.engine import Engine, OptimizerSettings
    from megatron_ext.model import MegatronModel, ModelSettings

    settings = ModelSettings(folder, torch.bfloat16, CHUNK_SIZE, recompute=recompute, modules="plain")
    model = MegatronModel(settings, layout)
    engine = Engine(model, packed=True, optimizer=OptimizerSettings(lr=1e-3))
    parameters = [parameter for _, parameter in model.named_parameters()]
    weights, gradients = _storages(parameters), _storages(p.main_grad for p in parameters)

    saved = Saved(set(weights) | set(gradients))
    (chunk,) = model.chunks
    saved.watch("chunk", chunk)
    for layer in chunk.decoder.layers:
        saved.watch("layer", layer)
    device = torch.cuda.current_device()
    sequences = torch.randint(0, VOCABULARY, (len(RESPONSES), max(RESPONSES)), device=device)
    mask = torch.arange(max(RESPONSES), device=device) < torch.tensor(RESPONSES, device=device)[:, None]
    with memory_twins(), torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
        engine.gradients([(sequences, mask)], lambda _, log_probs, entropy: (log_probs + entropy).sum(), entropy=True)
    engine.update()
    return {
        "weights": sum(weights.values()),
        "gradients": sum(gradients.values()),
        "optimizer": sum(_storages(_optimizer_states(engine.optimizer)).values()),
        **saved.bytes,
    }


def _optimizer_states(optimizer) -> list[torch.Tensor]:
    tensors = []
    for part in getattr(optimizer, "chained_optimizers", [optimizer]):
        for main, state in part.optimizer.state.items():
            tensors += [main, state["exp_avg"], state["exp_avg_sq"]]
    return tensors


def _storages(tensors) -> dict[int, int]:
    storages = (tensor.untyped_storage() for tensor in tensors)
    return {storage.data_ptr(): storage.nbytes() for storage in storages}
