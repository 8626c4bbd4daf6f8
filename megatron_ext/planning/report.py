"""Prints the layouts that were found as a table, with an explanation of its columns."""

from collections import Counter
from collections.abc import Callable, Sequence

from deltal_openrlhf.reports.numbers import columns
from megatron_ext.planning.memory import GIB
from megatron_ext.planning.search import Plan, Request

COLUMNS: dict[str, Callable[[Plan], object]] = {
    "tp": lambda p: p.layout.tensor,
    "pp": lambda p: p.layout.pipeline,
    "vpp": lambda p: p.layout.virtual_pipeline or "-",
    "cp": lambda p: p.layout.context,
    "ep": lambda p: p.layout.expert,
    "dp": lambda p: p.data_parallel,
    "weights": lambda p: _gib(p.memory.weights),
    "grads": lambda p: _gib(p.memory.gradients),
    "optim": lambda p: _gib(p.memory.optimizer),
    "activ": lambda p: _gib(p.activations[0]),
    "recomp": lambda p: _gib(p.activations[1]),
    "work": lambda p: _gib(p.memory.workspace),
    "logits": lambda p: _gib(p.memory.logits),
    "ref": lambda p: _gib(p.memory.reference),
    "train": lambda p: f"{p.training:.1f}",
    "gener": lambda p: f"{p.generation:.1f}",
    "free": lambda p: f"{p.free:.1f}",
    "full": lambda p: "yes" if p.recompute else "no",
    "bubble": lambda p: _percent(p, "bubble", "imbalance"),
    "comm": lambda p: _percent(p, "tensor", "context", "pipeline", "expert", "data"),
    "over": lambda p: _percent(p, "overhead"),
    "step s": lambda p: f"{p.time.ideal + p.time.overhead:.1f}",
}
LEGEND = """Memory in GiB of one GPU, of the pipeline stage that takes most. activ, recomp: activations without and with full recomputation;
full: whether that is needed (--actor.gradient_checkpointing_enable). work: what backward holds for a moment. logits: a chunk of them, and
the output layer's gradient. train: all of it and the reserve; gener: weights, vLLM's share and the reserve; free: what is left.
Time of an optimizer step: bubble, comm and over (all overhead, recomputation included) in percent of the arithmetic, without overlap."""


def report(model: str, request: Request, found: Sequence[Plan], refused: Counter[str], top: int) -> str:
    """The best `top` layouts that fit, the nearest misses, and the reasons why others are impossible. model: as the user named it."""
    fitting = [p for p in found if p.fits]
    misses = found[len(fitting) :]
    machine = request.machine
    vllm = f"vLLM's share {request.vllm_share:g}" if request.vllm_share else "no vLLM on these GPUs"
    asleep = ", states stay while it generates" if request.vllm_share and not request.sleep else ""
    lines = [
        f"{model}: {request.shape.parameters:,} parameters ({request.shape.model_type})",
        f"{machine.gpus} GPUs of {request.gpu_memory:g} GiB, {machine.gpus_per_node} in a node; {vllm}{asleep}; "
        f"reserve {request.reserve:g} GiB",
        f"micro batches of {request.tokens_per_micro_batch:,} tokens; optimizer steps of {request.batch_size:,} responses, with their "
        f"prompts {request.mean_length:,} tokens on average and at most {request.max_sequence_length:,}",
        "",
        LEGEND,
        "",
        f"{len(fitting)} layouts fit" + (f", the best {top}:" if len(fitting) > top else ":" if fitting else ""),
        *_table(fitting[:top]),
    ]
    if misses:
        lines += ["", f"{len(misses)} do not fit; nearest:", *_table(misses[: max(3, top // 4)])]
    if refused:
        lines += ["", f"{sum(refused.values())} are not possible:"]
        lines += [f"  {count:>4}  {reason}" for reason, count in refused.most_common(top)]
    return "\n".join(lines)


def _table(rows: Sequence[Plan]) -> list[str]:
    if not rows:
        return []
    cells = columns([["", *COLUMNS], *(["", *(str(value(p)) for value in COLUMNS.values())] for p in rows)])
    return ["  ".join(line) for line in cells]


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"


def _percent(p: Plan, *names: str) -> str:
    return f"{sum(getattr(p.time, name) for name in names) / p.time.ideal:.0%}"
