"""What log-probabilities in chunks cost against log_softmax of full logits: time, memory and error of forward and backward.

    python scripts/bench_logprob.py [--rounds 9] [--chunk-size 1024] [--peak-tflops 989] [--json FILE]

On the CPU: fp32, 4,096 tokens, vocabulary 32,768, hidden size 512; with one thread and with torch's default. With a GPU also there: bf16,
32,768 tokens, vocabulary 151,936, hidden size 3,584, beside liger-kernel's fused linear cross-entropy if that is installed, once with
a mean loss (liger-mean: it computes gradients in forward, three matrix products) and once per token as PPO needs it (liger-none: four).

A round runs all variants once in rotating order, and ratios are taken within rounds; their median is reported. Processor time is that of
all threads of the process: on a machine that others use too it is the steadier figure. Extra memory is what
forward and backward need at most beyond the inputs, gradients included, of one variant in a process of its own: peak resident memory
on the CPU (VmHWM, so Linux only), the peak of torch's allocator on a GPU. Share of peak: operations of the products done / time / peak.

Exit 1 if an aim is missed. CPU: extra memory <= 1/5 and time <= 1.45 of plain, relative differences <= 1e-5. GPU: extra memory <= 1/8
and time <= 1.45 of plain, and time <= liger-none.
"""

import argparse
import json
import re
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from deltal_openrlhf.parity import run_on_ranks
from megatron_ext.flags import DEFAULT_CHUNK_SIZE
from megatron_ext.logprob import chunked_logprobs

TIMEOUT = 4 * 3600.0
PRODUCTS = {"plain": 3, "chunked": 4, "liger-mean": 3, "liger-none": 4}


@dataclass(frozen=True)
class Problem:
    device: str
    dtype: str
    num_tokens: int
    vocab: int
    hidden_size: int
    memory_aim: float
    time_aim: float = 1.45
    difference_aim: float | None = None


CPU = Problem("cpu", "float32", 4096, 32768, 512, memory_aim=1 / 5, difference_aim=1e-5)
GPU = Problem("cuda", "bfloat16", 32768, 151936, 3584, memory_aim=1 / 8)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds (default 9)")
    parser.add_argument("--chunk-size", type=int, nargs="+", default=[DEFAULT_CHUNK_SIZE], help="tokens in a chunk")
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="of the GPU in bf16 (default 989, an H200)")
    parser.add_argument("--json", type=Path, help="write the result there")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds is {options.rounds}, allowed is 1 or more")
    if min(options.chunk_size) < 1:
        parser.error(f"--chunk-size is {min(options.chunk_size)}, allowed is 1 or more")
    chunked = [f"chunked-{size}" for size in options.chunk_size]
    results = [bench(CPU, ["plain", *chunked], options.rounds, threads) for threads in (1, torch.get_num_threads())]
    if torch.cuda.is_available():
        results.append(bench(GPU, ["plain", *chunked, *find_liger()], options.rounds, None, options.peak_tflops))
    else:
        print("no GPU here: that part was not run")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    missed = [line for result in results for line in missed_aims(result)]
    for line in missed:
        print(line)
    return int(bool(missed))


def find_liger() -> list[str]:
    try:
        import liger_kernel.ops.fused_linear_cross_entropy  # noqa: F401
    except ImportError as error:
        print(f"liger-kernel is not compared: {error}")
        return []
    return ["liger-mean", "liger-none"]


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
            "time_ratio_liger": statistics.median(paired(seconds, variant, "liger-none"))
            if "liger-none" in variants
            else None,
            "processor_ratio": statistics.median(paired(processor, variant, "plain")),
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


def paired(seconds: dict[str, list[float]], variant: str, other: str) -> list[float]:
    return [own / base for own, base in zip(seconds[variant], seconds[other], strict=True)]


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


def make_inputs(problem: Problem) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """hidden, weight, labels and the gradient of the log-probabilities; logits have a standard deviation of about 1."""
    generator = torch.Generator(problem.device).manual_seed(0)
    options = {"generator": generator, "device": problem.device, "dtype": getattr(torch, problem.dtype)}
    hidden = torch.randn(problem.num_tokens, problem.hidden_size, **options).requires_grad_()
    weight = torch.randn(problem.vocab, problem.hidden_size, **options).div_(problem.hidden_size**0.5).requires_grad_()
    labels = torch.randint(problem.vocab, (problem.num_tokens,), generator=generator, device=problem.device)
    gradient = torch.randn(problem.num_tokens, generator=generator, device=problem.device)
    return hidden, weight, labels, gradient


def run(variant: str, hidden, weight, labels, gradient) -> torch.Tensor:
    """Forward and backward; the gradients are left in hidden.grad and weight.grad. Returns the log-probabilities, or liger's loss."""
    hidden.grad = weight.grad = None
    if variant == "plain":
        logprobs = torch.log_softmax((hidden @ weight.t()).float(), -1).gather(1, labels[:, None]).squeeze(1)
    elif variant.startswith("liger"):
        from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction as Liger

        reduction = variant.removeprefix("liger-")
        # bias, ce_weight, ignore_index, lse_square_scale, label_smoothing, reduction, softcap, return_z_loss, accum_dtype
        logprobs = Liger.apply(
            hidden, weight, labels, None, None, -100, 0.0, 0.0, reduction, None, False, torch.float32
        )[0]
        gradient = -gradient if reduction == "none" else None
    else:
        chunk_size = int(variant.removeprefix("chunked-"))
        logprobs, _ = chunked_logprobs(hidden, weight, labels, group=None, chunk_size=chunk_size)
    logprobs.backward(gradient)
    return logprobs.detach()


def measure_memory(rank: int, problem: Problem, variant: str, threads: int | None) -> int:
    """Bytes that one run needs at most beyond its inputs."""
    set_threads(threads)
    inputs = make_inputs(problem)
    warm_up(variant, inputs)
    if problem.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(variant, *inputs)
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from what is resident now
    before = resident("VmHWM")
    run(variant, *inputs)
    return resident("VmHWM") - before


def warm_up(variant: str, inputs) -> None:
    """What is loaded or compiled at the first use: a run on the first 16 tokens and rows of the vocabulary."""
    hidden, weight, labels, gradient = inputs
    small = hidden[:16].detach().requires_grad_(), weight[:16].detach().requires_grad_()
    run(variant, *small, labels[:16] % 16, gradient[:16])


def resident(field: str) -> int:
    return int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024


def measure_seconds(
    rank: int, problem: Problem, variants: list[str], rounds: int, threads: int | None
) -> tuple[dict, dict]:
    """Seconds, and processor seconds, of every variant in every round. The first round is not timed."""
    set_threads(threads)
    inputs = make_inputs(problem)
    seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    processor: dict[str, list[float]] = {variant: [] for variant in variants}
    for turn in range(rounds + 1):
        shift = turn % len(variants)
        for variant in variants[shift:] + variants[:shift]:
            synchronize(problem)
            begin, processor_begin = time.perf_counter(), time.process_time()
            run(variant, *inputs)
            synchronize(problem)
            if turn:
                seconds[variant].append(time.perf_counter() - begin)
                processor[variant].append(time.process_time() - processor_begin)
    return seconds, processor


def measure_differences(
    rank: int, problem: Problem, variants: list[str], threads: int | None
) -> dict[str, dict[str, float]]:
    """||x - plain|| / ||plain|| of the log-probabilities and both gradients."""
    set_threads(threads)
    inputs = make_inputs(problem)
    results = {}
    for variant in ["plain", *variants]:
        logprobs = run(variant, *inputs)
        results[variant] = {"logprobs": logprobs, "hidden_grad": inputs[0].grad, "weight_grad": inputs[1].grad}
    plain = results.pop("plain")
    return {v: {key: relative(x, plain[key]) for key, x in result.items()} for v, result in results.items()}


def relative(value: torch.Tensor, expected: torch.Tensor) -> float:
    return float((value.double() - expected.double()).norm() / expected.double().norm())


def set_threads(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)


def synchronize(problem: Problem) -> None:
    if problem.device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(main())
