"""Measures log-probabilities in several ways: time, memory and error, over forward and backward.

A problem fixes the sizes. The variants are:

- `plain`: log_softmax of all logits in autograd
- `chunked-N`: megatron_ext/logprob.py with N tokens in a chunk
- `liger-mean`: liger-kernel's fused linear cross-entropy with a mean loss, three matrix products
- `liger-none`: the same per token, as PPO needs it, four matrix products
"""

import re
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deltal_openrlhf.verify.machine import wait_for_gpu
from megatron_ext.logprob import chunked_logprobs

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]
"""hidden, weight, labels, gradient of the log-probabilities."""

PRODUCTS = {"plain": 3, "chunked": 4, "liger-mean": 3, "liger-none": 4}


@dataclass(frozen=True)
class Problem:
    """Sizes, and aims: memory and time over plain, relative difference from it."""

    device: str
    dtype: str
    num_tokens: int
    vocab: int
    hidden_size: int
    memory_aim: float
    time_aim: float = 1.45
    difference_aim: float | None = None

    def sizes(self) -> str:
        return f"{self.num_tokens:,} tokens x {self.vocab:,} x {self.hidden_size:,}, {self.dtype}"


CPU = Problem("cpu", "float32", 4096, 32768, 512, memory_aim=1 / 5, difference_aim=1e-5)
GPU = Problem("cuda", "bfloat16", 32768, 151936, 3584, memory_aim=1 / 8)


def find_liger() -> list[str]:
    """Its variants, none where it is not installed."""
    try:
        import liger_kernel.ops.fused_linear_cross_entropy  # noqa: F401
    except ImportError:
        return []
    return ["liger-mean", "liger-none"]


def paired(seconds: dict[str, list[float]], variant: str, other: str) -> list[float]:
    """Ratios within rounds."""
    return [own / base for own, base in zip(seconds[variant], seconds[other], strict=True)]


def median_ratio(seconds: dict[str, list[float]], variant: str, other: str) -> float:
    return statistics.median(paired(seconds, variant, other))


def make_inputs(problem: Problem) -> Inputs:
    """hidden, weight, labels and the gradient of the log-probabilities; logits have a standard deviation of about 1."""
    generator = torch.Generator(problem.device).manual_seed(0)
    options = {"generator": generator, "device": problem.device, "dtype": getattr(torch, problem.dtype)}
    hidden = torch.randn(problem.num_tokens, problem.hidden_size, **options).requires_grad_()
    weight = torch.randn(problem.vocab, problem.hidden_size, **options).div_(problem.hidden_size**0.5).requires_grad_()
    labels = torch.randint(problem.vocab, (problem.num_tokens,), generator=generator, device=problem.device)
    gradient = torch.randn(problem.num_tokens, generator=generator, device=problem.device)
    return hidden, weight, labels, gradient


def run(variant: str, hidden: Tensor, weight: Tensor, labels: Tensor, gradient: Tensor) -> Tensor:
    """Forward and backward; the gradients are left in hidden.grad and weight.grad. Returns the log-probabilities, or liger's loss."""
    hidden.grad = weight.grad = None
    if variant == "plain":
        logprobs = torch.log_softmax((hidden @ weight.t()).float(), -1).gather(1, labels[:, None]).squeeze(1)
    elif variant.startswith("liger"):
        from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction as Liger

        reduction = variant.removeprefix("liger-")
        # bias, ce_weight, ignore_index, lse_square_scale, label_smoothing, reduction, softcap, return_z_loss, accum_dtype
        settings = None, None, -100, 0.0, 0.0, reduction, None, False, torch.float32
        losses, *_ = Liger.apply(hidden, weight, labels, *settings)
        # A mean is one number for all tokens, which takes no gradient for each.
        logprobs = -losses if reduction == "none" else losses
    else:
        chunk_size = int(variant.removeprefix("chunked-"))
        logprobs, _ = chunked_logprobs(hidden, weight, labels, group=None, chunk_size=chunk_size)
    logprobs.backward(None if variant == "liger-mean" else gradient)
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


def warm_up(variant: str, inputs: Inputs) -> None:
    """What is loaded or compiled at the first use: a run on the first 16 tokens and rows of the vocabulary."""
    hidden, weight, labels, gradient = inputs
    small = hidden[:16].detach().requires_grad_(), weight[:16].detach().requires_grad_()
    run(variant, *small, labels[:16] % 16, gradient[:16])


def resident(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


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
            wait_for_gpu()
            begin, processor_begin = time.perf_counter(), time.process_time()
            run(variant, *inputs)
            wait_for_gpu()
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
        hidden_grad, weight_grad = inputs[0].grad, inputs[1].grad
        assert hidden_grad is not None and weight_grad is not None
        results[variant] = {"logprobs": logprobs, "hidden_grad": hidden_grad, "weight_grad": weight_grad}
    plain = results.pop("plain")
    return {v: {key: relative(x, plain[key]) for key, x in result.items()} for v, result in results.items()}


def relative(value: Tensor, expected: Tensor) -> float:
    return float((value.double() - expected.double()).norm() / expected.double().norm())


def set_threads(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)
