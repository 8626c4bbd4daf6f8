"""`deltal plan`: which layouts of a model fit on how many GPUs, on paper.

It lists every layout that the model, the GPUs and the batch allow, with its memory by part (planning/memory.py has the formulas and their
sources). Layouts that fit come first, ordered by the estimated overhead of an optimizer step (planning/estimates.py).
docs/reference/planning.md compares the figures with measured ones.
"""

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields

from deltal_openrlhf.runs.command import OneLineParser
from megatron_ext.flags import DEFAULT_CHUNK_SIZE
from megatron_ext.planning.estimates import Machine
from megatron_ext.planning.report import report
from megatron_ext.planning.search import Plan, Request, plans
from megatron_ext.planning.shape import read_shape

PROG = "deltal plan"
EPILOG = """\
Layouts that fit come first, then the nearest misses. Sequence parallelism is on wherever tensor parallelism is. The exit status is 0, 1 if
no layout fits, and 2 for bad input. docs/reference/planning.md explains the columns.

  deltal plan --model models/qwen2.5-32b --gpus 32 --gpu_memory 80 \\
      --max_sequence_length 33792
"""


def main(argv: Sequence[str]) -> int:
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
    print(f"{PROG}: {nothing_fits(request, found, refused)}", file=sys.stderr)
    return 1


def nothing_fits(request: Request, found: Sequence[Plan], refused: Counter[str]) -> str:
    """Why there is no layout, in one line: the nearest miss, or what rules out most layouts."""
    if not found:
        return f"no layout is possible: {refused.most_common(1)[0][0]}"
    best = found[0]
    needed = max(best.training, best.generation)
    return (
        f"no layout fits: the nearest one ({best.layout.describe()}) takes {needed:.1f} GiB on each GPU, and --gpu_memory is "
        f"{request.gpu_memory:g}; a larger --gpus or a smaller --tokens_per_micro_batch takes less"
    )


def parser() -> OneLineParser:
    """The dests are the names of the fields of Request and Machine."""
    parser = OneLineParser(
        prog=PROG,
        usage="deltal plan --model MODEL --gpus N --gpu_memory GIB\n                   --max_sequence_length N [options]",
        description="List the ways to cut a model over GPUs with Megatron, with the estimated memory and time of each.",
        epilog=EPILOG,
    )

    def add(flag: str, kind: type, default: float | None, about: str) -> None:
        about += "" if default is None else f" (default {default:g})"
        parser.add_argument(flag, type=kind, default=default, metavar="N", help=about)

    def needed(flag: str, kind: type, metavar: str, about: str) -> None:
        parser.add_argument(flag, type=kind, required=True, metavar=metavar, help=about)

    models = "config.json, folder of a checkpoint, name on the hub, shipped model such as models/qwen2.5-7b, or recipe that names one"
    needed("--model", str, "MODEL", models)
    needed("--gpus", int, "N", "GPUs that train, in all")
    needed("--gpu_memory", float, "GIB", 'memory of one GPU in GiB; an "80 GB" GPU has 79 to 80')
    needed("--max_sequence_length", int, "N", "tokens of the longest prompt with its response (--data.max_len)")
    micro = "tokens of a micro batch, --megatron.max_tokens_per_micro_batch (default --max_sequence_length)"
    add("--tokens_per_micro_batch", int, None, micro)
    add("--batch_size", int, 320, "responses in an optimizer step, --train.batch_size")
    add("--mean_length", int, None, "mean tokens of prompt and response (default half of --max_sequence_length)")
    add("--logprob_chunk_size", int, DEFAULT_CHUNK_SIZE, "--megatron.logprob_chunk_size")
    add("--gpus_per_node", int, 8, "GPUs of a node; tensor parallelism stays within one")
    add("--vllm_share", float, 0.6, "--vllm.gpu_memory_utilization of engines on the same GPUs; 0 without")
    awake = "keep everything in memory at once: without --vllm.enable_sleep and --ds.enable_sleep"
    parser.add_argument("--no_sleep", action="store_false", dest="sleep", help=awake)
    reference = "add a reference model, cut as the policy is (--algo.kl.init_coef above 0)"
    parser.add_argument("--reference", action="store_true", help=reference)
    add("--reserve", float, 8.0, "GiB for contexts, NCCL and fragmentation, a guess")
    add("--nvlink_gbs", float, 450.0, "GB/s of a GPU within a node, one direction")
    add("--network_gbs", float, 50.0, "GB/s of a GPU between nodes, one direction")
    add("--peak_tflops", float, 989.0, "peak of a GPU in bf16")
    add("--efficiency", float, 0.4, "share of the peak that matrix products reach, a guess")
    add("--top", int, 12, "layouts to print")
    parser.add_argument("--json", action="store_true", help="print all layouts as JSON, in bytes and seconds")
    return parser


def request_of(options: argparse.Namespace) -> Request:
    """Raises ValueError that names the flag."""

    def need(flag: str, value: float, fits: bool, allowed: str) -> None:
        if not fits:
            raise ValueError(f"--{flag} is {value}, allowed is {allowed}")

    given = vars(options).copy()
    longest = given["max_sequence_length"]
    for name in ("gpus", "max_sequence_length", "batch_size", "logprob_chunk_size", "gpus_per_node", "top"):
        need(name, given[name], given[name] >= 1, "1 or more")
    for name in ("gpu_memory", "nvlink_gbs", "network_gbs", "peak_tflops"):
        need(name, given[name], 0 < given[name] < math.inf, "a number above 0")
    need("efficiency", options.efficiency, 0 < options.efficiency <= 1, "more than 0 and up to 1")
    need("vllm_share", options.vllm_share, 0 <= options.vllm_share <= 1, "0 to 1")
    need("reserve", options.reserve, 0 <= options.reserve < math.inf, "0 or more")
    if given["tokens_per_micro_batch"] is None:
        given["tokens_per_micro_batch"] = longest
    if given["mean_length"] is None:
        given["mean_length"] = max(longest // 2, 1)
    tokens, mean = given["tokens_per_micro_batch"], given["mean_length"]
    need("tokens_per_micro_batch", tokens, tokens >= longest, f"--max_sequence_length, {longest}, or more")
    need("mean_length", mean, 1 <= mean <= longest, f"1 to --max_sequence_length, {longest}")
    uneven = options.gpus > options.gpus_per_node and options.gpus % options.gpus_per_node
    need("gpus", options.gpus, not uneven, f"a multiple of --gpus_per_node, {options.gpus_per_node}")
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
