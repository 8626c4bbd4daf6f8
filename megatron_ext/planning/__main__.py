"""Which layouts of a model fit on how many GPUs, on paper.

    python -m megatron_ext.planning --model configs/models/qwen2.5-32b.json --gpus 32 --gpu-memory 80 --max-length 33792
    python -m megatron_ext.planning --model Qwen/Qwen3-30B-A3B --gpus 64 --gpu-memory 80 --max-length 16384 --json

Every layout that the model, the GPUs and the batch allow, with its memory by part (memory.py: the formulas and their sources), first
those that fit, then by the estimated overhead of an optimizer step (estimates.py). Exit status 0; 1 if nothing fits, with the nearest
misses; 2 for bad input. Sequence parallelism is on wherever tensor parallelism is: it takes less memory and moves the same bytes.
docs/planning.md says how the figures compare with measured ones.
"""

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NoReturn

from megatron_ext.flags import DEFAULT_CHUNK_SIZE
from megatron_ext.planning.estimates import Machine
from megatron_ext.planning.memory import GIB
from megatron_ext.planning.search import Plan, Request, plans
from megatron_ext.planning.shape import read_shape

PROG = "megatron_ext.planning"


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        request = _request(options)
    except ValueError as error:
        _fail(str(error))
    found, refused = plans(request)
    fitting = [p for p in found if p.free >= 0]
    if options.json:
        print(json.dumps({"model": asdict(request.shape), "plans": [_as_json(p) for p in found]}, indent=1))
    else:
        print(_report(options.model, request, found, refused, options.top))
    if not fitting:
        print(f"{PROG}: nothing fits", file=sys.stderr)
    return 0 if fitting else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.error = _fail  # type: ignore[method-assign]
    add = parser.add_argument
    add(
        "--model",
        required=True,
        help="config.json, Hugging Face folder, name on the hub, or a YAML file of settings that names one",
    )
    add("--gpus", type=int, required=True, help="GPUs that train, in all")
    add("--gpu-memory", type=float, required=True, help='of one GPU, in GiB; an "80 GB" GPU has 79 to 80')
    add("--max-length", type=int, required=True, help="tokens of the longest prompt with its response (--data.max_len)")
    add("--tokens-per-micro-batch", type=int, help="--megatron.max_tokens_per_micro_batch; default --max-length")
    add("--batch-size", type=int, default=320, help="responses in an optimizer step (--train.batch_size); default 320")
    add("--mean-length", type=int, help="mean tokens of prompt and response; default half of --max-length")
    add("--logprob-chunk-size", type=int, default=DEFAULT_CHUNK_SIZE, help=f"default {DEFAULT_CHUNK_SIZE}")
    add("--gpus-per-node", type=int, default=8, help="tensor parallelism stays within a node; default 8")
    add(
        "--vllm-share",
        type=float,
        default=0.6,
        help="--vllm.gpu_memory_utilization of engines on the same GPUs, 0 for none; default 0.6",
    )
    add(
        "--no-sleep",
        action="store_true",
        help="without --vllm.enable_sleep and --ds.enable_sleep: all is in memory at once",
    )
    add(
        "--reference",
        action="store_true",
        help="a reference model beside the policy, cut alike (--algo.kl.init_coef above 0)",
    )
    add(
        "--reserve",
        type=float,
        default=8.0,
        help="GiB for what is not in the formulas: contexts, NCCL, fragmentation; default 8, a guess",
    )
    add(
        "--nvlink-gbs", type=float, default=450.0, help="GB/s of a GPU within a node, one direction; default 450 (H100)"
    )
    add(
        "--network-gbs",
        type=float,
        default=50.0,
        help="GB/s of a GPU between nodes, one direction; default 50 (400 Gb/s)",
    )
    add("--peak-tflops", type=float, default=989.0, help="of a GPU in bf16; default 989 (H100)")
    add(
        "--efficiency",
        type=float,
        default=0.4,
        help="share of the peak that matrix products reach; default 0.4, a guess",
    )
    add("--top", type=int, default=12, help="layouts to print; default 12")
    add("--json", action="store_true", help="all layouts, in bytes and seconds")
    return parser


def _request(options: argparse.Namespace) -> Request:
    for name in ("gpus", "max_length", "batch_size", "logprob_chunk_size", "gpus_per_node", "top"):
        _need(options, name, getattr(options, name) >= 1, "1 or more")
    for name in ("gpu_memory", "nvlink_gbs", "network_gbs", "peak_tflops"):
        _need(options, name, 0 < getattr(options, name) < math.inf, "a number above 0")
    _need(options, "efficiency", 0 < options.efficiency <= 1, "more than 0 and up to 1")
    _need(options, "vllm_share", 0 <= options.vllm_share <= 1, "0 to 1")
    _need(options, "reserve", 0 <= options.reserve < math.inf, "0 or more")
    longest = options.max_length
    tokens = longest if options.tokens_per_micro_batch is None else options.tokens_per_micro_batch
    mean = max(longest // 2, 1) if options.mean_length is None else options.mean_length
    _need(options, "tokens_per_micro_batch", tokens >= longest, f"--max-length, {longest}, or more")
    _need(options, "mean_length", 1 <= mean <= longest, f"1 to --max-length, {longest}")
    if options.gpus > options.gpus_per_node and options.gpus % options.gpus_per_node:
        raise ValueError(f"--gpus is {options.gpus}, allowed is a multiple of --gpus-per-node, {options.gpus_per_node}")
    return Request(
        shape=read_shape(options.model),
        machine=Machine(
            gpus=options.gpus,
            gpus_per_node=options.gpus_per_node,
            flops=options.peak_tflops * 1e12,
            efficiency=options.efficiency,
            nvlink=options.nvlink_gbs * 1e9,
            network=options.network_gbs * 1e9,
        ),
        gpu_memory=options.gpu_memory,
        max_length=longest,
        tokens_per_micro_batch=tokens,
        batch_size=options.batch_size,
        mean_length=mean,
        chunk_size=options.logprob_chunk_size,
        vllm_share=options.vllm_share,
        sleep=not options.no_sleep,
        reference=options.reference,
        reserve=options.reserve,
    )


def _need(options: argparse.Namespace, name: str, fits: bool, allowed: str) -> None:
    if not fits:
        raise ValueError(f"--{name.replace('_', '-')} is {getattr(options, name)}, allowed is {allowed}")


def _fail(message: str) -> NoReturn:
    print(f"{PROG}: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


# ── The report ──

COLUMNS = (
    ("tp", lambda p: p.layout.tensor),
    ("pp", lambda p: p.layout.pipeline),
    ("vpp", lambda p: p.layout.virtual_pipeline or "-"),
    ("cp", lambda p: p.layout.context),
    ("ep", lambda p: p.layout.expert),
    ("dp", lambda p: p.data_parallel),
    ("weights", lambda p: _gib(p.memory.weights)),
    ("grads", lambda p: _gib(p.memory.gradients)),
    ("optim", lambda p: _gib(p.memory.optimizer)),
    ("activ", lambda p: _gib(p.activations[0])),
    ("recomp", lambda p: _gib(p.activations[1])),
    ("work", lambda p: _gib(p.memory.workspace)),
    ("logits", lambda p: _gib(p.memory.logits)),
    ("ref", lambda p: _gib(p.memory.reference)),
    ("train", lambda p: f"{p.training:.1f}"),
    ("gener", lambda p: f"{p.generation:.1f}"),
    ("free", lambda p: f"{p.free:.1f}"),
    ("full", lambda p: "yes" if p.recompute else "no"),
    ("bubble", lambda p: _percent(p, "bubble", "imbalance")),
    ("comm", lambda p: _percent(p, "tensor", "context", "pipeline", "expert", "data")),
    ("over", lambda p: f"{p.time.overhead / p.time.ideal:.0%}"),
    ("step s", lambda p: f"{p.time.ideal + p.time.overhead:.1f}"),
)
LEGEND = """Memory in GiB of one GPU, of the pipeline stage that takes most. activ, recomp: activations without and with full recomputation;
full: whether that is needed (--actor.gradient_checkpointing_enable). work: what backward holds for a moment. logits: a chunk of them, and
the output layer's gradient. train: all of it and the reserve; gener: weights, vLLM's share and the reserve; free: what is left.
Time of an optimizer step: bubble, comm and over (all overhead, recomputation included) in percent of the arithmetic, without overlap."""


def _report(model: str, request: Request, found: Sequence[Plan], refused: Counter[str], top: int) -> str:
    fitting = [p for p in found if p.free >= 0]
    misses = found[len(fitting) :]
    machine = request.machine
    vllm = f"vLLM's share {request.vllm_share:g}" if request.vllm_share else "no vLLM on these GPUs"
    asleep = ", states stay while it generates" if request.vllm_share and not request.sleep else ""
    lines = [
        f"{model}: {request.shape.parameters:,} parameters ({request.shape.model_type})",
        f"{machine.gpus} GPUs of {request.gpu_memory:g} GiB, {machine.gpus_per_node} in a node; {vllm}{asleep}; "
        f"reserve {request.reserve:g} GiB",
        f"micro batches of {request.tokens_per_micro_batch:,} tokens; optimizer steps of {request.batch_size:,} responses, with their "
        f"prompts {request.mean_length:,} tokens on average and at most {request.max_length:,}",
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
    cells = [[name for name, _ in COLUMNS], *([str(value(p)) for _, value in COLUMNS] for p in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  " + "  ".join(map(str.rjust, line, widths)) for line in cells]


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"


def _percent(p: Plan, *names: str) -> str:
    return f"{sum(getattr(p.time, name) for name in names) / p.time.ideal:.0%}"


def _as_json(p: Plan) -> dict[str, Any]:
    return asdict(p) | {"fits": p.free >= 0}


if __name__ == "__main__":
    sys.exit(main())
