"""Measures log-probabilities in chunks against log_softmax of full logits: time, memory and error of forward and backward.

    python scripts/bench_logprob.py [--device cpu|cuda] [--rounds 9] [--chunk-size 1024] [--peak-tflops 989] [--json FILE]

On the CPU it uses fp32, 4,096 tokens, vocabulary 32,768 and hidden size 512, with one thread and with torch's default. With a GPU it also
uses bf16, 32,768 tokens, vocabulary 151,936 and hidden size 3,584 there. It then compares with liger-kernel's fused linear cross-entropy if
that is installed. liger-mean has a mean loss and computes gradients in forward, with three matrix products. liger-none works per token, as
PPO needs it, with four.

A round runs all variants once in rotating order, and ratios are taken within rounds. Their median is reported. Processor time is that of
all threads of the process. It is the steadier figure on a machine that others use too.

Extra memory is the most that forward and backward need beyond the inputs, gradients included, of one variant in a process of its own. On
the CPU it is peak resident memory (VmHWM, so Linux only), on a GPU the peak of torch's allocator. Share of peak: operations of the products
done / time / peak.

Exit 1 if an aim is missed. CPU: extra memory <= 1/5 and time <= 1.45 of plain, relative differences <= 1e-5. GPU: extra memory <= 1/8 and
time <= 1.45 of plain, and time <= liger-none.
"""

import argparse
import re
import statistics
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from deltal_openrlhf.parity import run_on_ranks
from deltal_openrlhf.runs.files import records, write_atomically
from deltal_openrlhf.verify.logprob_variants import (
    CPU,
    GPU,
    PRODUCTS,
    Problem,
    find_liger,
    measure_differences,
    measure_memory,
    measure_seconds,
    median_ratio,
    paired,
)
from megatron_ext.flags import DEFAULT_CHUNK_SIZE

TIMEOUT = 4 * 3600.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="measure there only (default: the CPU, and a GPU if there is one)"
    )
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds (default 9)")
    parser.add_argument("--chunk-size", type=int, nargs="+", default=[DEFAULT_CHUNK_SIZE], help="tokens in a chunk")
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="of the GPU in bf16 (default 989, an H200)")
    parser.add_argument("--json", type=Path, help="write the result there")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds is {options.rounds}, allowed is 1 or more")
    if min(options.chunk_size) < 1:
        parser.error(f"--chunk-size is {min(options.chunk_size)}, allowed is 1 or more")
    has_gpu = torch.cuda.is_available()
    if options.device == "cuda" and not has_gpu:
        parser.error("--device is cuda, and torch sees no GPU here; allowed is cpu")
    chunked = [f"chunked-{size}" for size in options.chunk_size]
    results = []
    if options.device != "cuda":
        threads = (1, torch.get_num_threads())
        results += [bench(CPU, ["plain", *chunked], options.rounds, number) for number in threads]
    if options.device != "cpu" and has_gpu:
        if not find_liger():
            print("liger-kernel is not installed, so it is not compared")
        results.append(bench(GPU, ["plain", *chunked, *find_liger()], options.rounds, None, options.peak_tflops))
    elif not options.device:
        print("no GPU here: that part was not run")
    if options.json:
        write_atomically(options.json, records(results, 1))
    missed = [line for result in results for line in missed_aims(result)]
    for line in missed:
        print(line)
    return int(bool(missed))


def bench(problem: Problem, variants: list[str], rounds: int, threads: int | None, peak_tflops: float = 0.0) -> dict:
    memory = {variant: alone(measure_memory, problem, variant, threads) for variant in variants}
    seconds, processor = alone(measure_seconds, problem, variants, rounds, threads)
    differences = alone(measure_differences, problem, [v for v in variants if v.startswith("chunked")], threads)
    operations = 2 * problem.num_tokens * problem.vocab * problem.hidden_size
    rows = {}
    for variant in variants:
        median = statistics.median(seconds[variant])
        ratios = paired(seconds, variant, "plain")
        rows[variant] = {
            "seconds": median,
            "time_ratio": statistics.median(ratios),
            "time_ratio_range": [min(ratios), max(ratios)],
            "time_ratio_liger": median_ratio(seconds, variant, "liger-none") if "liger-none" in variants else None,
            "processor_ratio": median_ratio(processor, variant, "plain"),
            "extra_mib": memory[variant] / 2**20,
            "memory_ratio": memory[variant] / memory["plain"],
            "differences": differences.get(variant),
        }
        if peak_tflops:
            products = PRODUCTS[re.sub(r"-\d+$", "", variant)]
            rows[variant]["share_of_peak"] = products * operations / median / (peak_tflops * 1e12)
    where = torch.cuda.get_device_name() if problem.device == "cuda" else f"{threads} threads"
    result = {**asdict(problem), "where": where, "torch": torch.__version__, "rounds": rounds, "variants": rows}
    print_table(result)
    return result


def print_table(result: dict) -> None:
    print(
        f"\n{result['device']} ({result['where']}), {result['dtype']}, {result['num_tokens']} tokens, vocabulary "
        f"{result['vocab']}, hidden size {result['hidden_size']}, {result['rounds']} rounds, torch {result['torch']}\n\n"
        "| variant | seconds | time / plain (range) | processor time / plain | extra MiB | memory / plain "
        "| largest relative difference | share of peak |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for variant, row in result["variants"].items():
        low, high = row["time_ratio_range"]
        difference = f"{max(row['differences'].values()):.1e}" if row["differences"] else ""
        share = f"{row['share_of_peak']:.0%}" if "share_of_peak" in row else ""
        print(
            f"| {variant} | {row['seconds']:.3g} | {row['time_ratio']:.2f} ({low:.2f} to {high:.2f}) "
            f"| {row['processor_ratio']:.2f} | {row['extra_mib']:.0f} | {row['memory_ratio']:.3f} | {difference} | {share} |",
            flush=True,
        )


def missed_aims(result: dict) -> list[str]:
    rows, missed = result["variants"], []
    for variant in (name for name in rows if name.startswith("chunked")):
        limits = [
            ("memory / plain", rows[variant]["memory_ratio"], result["memory_aim"]),
            ("time / plain", rows[variant]["time_ratio"], result["time_aim"]),
        ]
        if result["difference_aim"]:
            limits.append(("difference", max(rows[variant]["differences"].values()), result["difference_aim"]))
        if rows[variant]["time_ratio_liger"]:
            limits.append(("time / liger-none", rows[variant]["time_ratio_liger"], 1.0))
        missed += [f"{result['where']}, {variant}: {n} is {v:.3g}, the aim is {a:.3g}" for n, v, a in limits if v > a]
    return missed


def alone(function, *arguments):
    """What the function returns in a process of its own."""
    return run_on_ranks(1, function, *arguments, timeout=TIMEOUT)[0]


if __name__ == "__main__":
    sys.exit(main())
