"""Which layouts of a model fit on how many GPUs, on paper.

    python -m megatron_ext.planning --model configs/models/qwen2.5-32b.json --gpus 32 --gpu-memory 80 --max-sequence-length 33792
    python -m megatron_ext.planning --model Qwen/Qwen3-30B-A3B --gpus 64 --gpu-memory 80 --max-sequence-length 16384 --json

Every layout that the model, the GPUs and the batch allow, with its memory by part (memory.py: the formulas and their sources), first
those that fit, then by the estimated overhead of an optimizer step (estimates.py). Exit status 0; 1 if nothing fits, with the nearest
misses; 2 for bad input. Sequence parallelism is on wherever tensor parallelism is: it takes less memory and moves the same bytes.
docs/reference/planning.md says how the figures compare with measured ones.
"""

import argparse
import json
import math
import sys
from dataclasses import asdict, fields

from deltal_openrlhf.runs.command import OneLineParser
from megatron_ext.flags import DEFAULT_CHUNK_SIZE
from megatron_ext.planning.estimates import Machine
from megatron_ext.planning.report import report
from megatron_ext.planning.search import Request, plans
from megatron_ext.planning.shape import read_shape

PROG = "megatron_ext.planning"


def main(argv: list[str] | None = None) -> int:
    flags = parser()
    options = flags.parse_args(argv)
    try:
        request = request_of(options)
    except ValueError as error:
        flags.error(" ".join(str(error).split()))
    found, refused = plans(request)
    if options.json:
        rows = [asdict(plan) | {"fits": plan.fits} for plan in found]
        print(json.dumps({"model": asdict(request.shape), "plans": rows}, indent=1))
    else:
        print(report(options.model, request, found, refused, options.top))
    if any(plan.fits for plan in found):
        return 0
    print(f"{PROG}: nothing fits", file=sys.stderr)
    return 1


def parser() -> OneLineParser:
    """The dests are the names of the fields of Request and Machine."""
    parser = OneLineParser(prog=PROG, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def add(flag: str, kind: type, default: float | None, about: str) -> None:
        about += "" if default is None else f"; default {default}"
        parser.add_argument(flag, type=kind, default=default, help=about)

    def needed(flag: str, kind: type, about: str) -> None:
        parser.add_argument(flag, type=kind, required=True, help=about)

    needed(
        "--model", str, "config.json, Hugging Face folder, name on the hub, or a YAML file of settings that names one"
    )
    needed("--gpus", int, "GPUs that train, in all")
    needed("--gpu-memory", float, 'of one GPU, in GiB; an "80 GB" GPU has 79 to 80')
    needed("--max-sequence-length", int, "tokens of the longest prompt with its response (--data.max_len)")
    add("--tokens-per-micro-batch", int, None, "--megatron.max_tokens_per_micro_batch; default --max-sequence-length")
    add("--batch-size", int, 320, "responses in an optimizer step (--train.batch_size)")
    add("--mean-length", int, None, "mean tokens of prompt and response; default half of --max-sequence-length")
    add("--logprob-chunk-size", int, DEFAULT_CHUNK_SIZE, "--megatron.logprob_chunk_size")
    add("--gpus-per-node", int, 8, "tensor parallelism stays within a node")
    add("--vllm-share", float, 0.6, "--vllm.gpu_memory_utilization of engines on the same GPUs, 0 for none")
    awake = "without --vllm.enable_sleep and --ds.enable_sleep: all is in memory at once"
    parser.add_argument("--no-sleep", action="store_false", dest="sleep", help=awake)
    reference = "a reference model next to the policy, cut alike (--algo.kl.init_coef above 0)"
    parser.add_argument("--reference", action="store_true", help=reference)
    add("--reserve", float, 8.0, "GiB for what is not in the formulas: contexts, NCCL, fragmentation; a guess")
    add("--nvlink-gbs", float, 450.0, "GB/s of a GPU within a node, one direction (H100)")
    add("--network-gbs", float, 50.0, "GB/s of a GPU between nodes, one direction (400 Gb/s)")
    add("--peak-tflops", float, 989.0, "of a GPU in bf16 (H100)")
    add("--efficiency", float, 0.4, "share of the peak that matrix products reach; a guess")
    add("--top", int, 12, "layouts to print")
    parser.add_argument("--json", action="store_true", help="all layouts, in bytes and seconds")
    return parser


def request_of(options: argparse.Namespace) -> Request:
    """Raises ValueError that names the flag."""

    def need(flag: str, value: float, fits: bool, allowed: str) -> None:
        if not fits:
            raise ValueError(f"--{flag} is {value}, allowed is {allowed}")

    given = vars(options).copy()
    longest = given["max_sequence_length"]
    for name in ("gpus", "max_sequence_length", "batch_size", "logprob_chunk_size", "gpus_per_node", "top"):
        need(name.replace("_", "-"), given[name], given[name] >= 1, "1 or more")
    for name in ("gpu_memory", "nvlink_gbs", "network_gbs", "peak_tflops"):
        need(name.replace("_", "-"), given[name], 0 < given[name] < math.inf, "a number above 0")
    need("efficiency", options.efficiency, 0 < options.efficiency <= 1, "more than 0 and up to 1")
    need("vllm-share", options.vllm_share, 0 <= options.vllm_share <= 1, "0 to 1")
    need("reserve", options.reserve, 0 <= options.reserve < math.inf, "0 or more")
    if given["tokens_per_micro_batch"] is None:
        given["tokens_per_micro_batch"] = longest
    if given["mean_length"] is None:
        given["mean_length"] = max(longest // 2, 1)
    tokens, mean = given["tokens_per_micro_batch"], given["mean_length"]
    need("tokens-per-micro-batch", tokens, tokens >= longest, f"--max-sequence-length, {longest}, or more")
    need("mean-length", mean, 1 <= mean <= longest, f"1 to --max-sequence-length, {longest}")
    uneven = options.gpus > options.gpus_per_node and options.gpus % options.gpus_per_node
    need("gpus", options.gpus, not uneven, f"a multiple of --gpus-per-node, {options.gpus_per_node}")
    given["shape"] = read_shape(options.model)
    given["machine"] = Machine(
        gpus=options.gpus,
        gpus_per_node=options.gpus_per_node,
        flops=options.peak_tflops * 1e12,
        efficiency=options.efficiency,
        nvlink=options.nvlink_gbs * 1e9,
        network=options.network_gbs * 1e9,
    )
    return Request(**{field.name: given[field.name] for field in fields(Request)})


if __name__ == "__main__":
    sys.exit(main())
