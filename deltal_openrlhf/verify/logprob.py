"""Compares log-probabilities in chunks with full logits, and with liger-kernel if it is installed: memory, time and error.

On a GPU the sizes are those of a 7B model: 32,768 tokens, vocabulary 151,936, hidden size 3,584, bf16. There are fewer tokens if the memory
does not hold their logits. The error is judged in fp32 on small sizes. On a CPU all sizes are small, and the times are not judged, because
other programs disturb them.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median
from typing import Any

import torch

from deltal_openrlhf.parity import RankPool
from deltal_openrlhf.parity.spawn import gpus_to_use
from deltal_openrlhf.verify import logprob_variants as variants
from deltal_openrlhf.verify.logprob_variants import CPU, GPU, Problem, find_liger, median_ratio
from deltal_openrlhf.verify.outcome import Budget, Outcome, measured

NAME = "logprob"
CALL_LIMIT = 120.0
"""Seconds for one measurement."""
ROUNDS = 5
PLAIN_LOGITS = 3.5
"""fp32 copies of all logits that plain forward and backward hold at their peak, with room to spare."""

Call = Callable[..., Any]
"""Runs a measurement of logprob_variants.py in the process for it: (function, problem, *arguments)."""


def run(budget: Budget) -> Iterator[Outcome]:
    exact = replace(CPU, num_tokens=1024, vocab=16384, hidden_size=256)
    problem, chunked, liger = exact, "chunked-128", []
    if gpus_to_use():
        exact = replace(exact, device="cuda")
        problem = replace(GPU, num_tokens=tokens_that_fit(GPU.vocab, GPU.num_tokens))
        chunked, liger = "chunked-1024", find_liger()

    with RankPool(1, budget.console) as pool:

        def call(function: Callable, problem: Problem, *arguments: Any) -> Any:
            found = pool.call(function, problem, *arguments, None, timeout=CALL_LIMIT)[0]
            if function is variants.measure_memory and problem.device == "cpu":
                pool.close()  # the next one in a process of its own: what one has freed stays resident
            return found

        for checked in dict.fromkeys((exact, problem)):
            yield _difference(call, checked, chunked)
        yield _memory(call, problem, chunked, liger)
        if budget.left:
            yield _time(call, problem, chunked, liger)
        else:
            yield Outcome(NAME, "time", said="left out for lack of time (--seconds)")


def _difference(call: Call, problem: Problem, chunked: str) -> Outcome:
    with measured(NAME, f"difference, {problem.sizes()}") as outcome:
        differences = call(variants.measure_differences, problem, [chunked])[chunked]
        worst, aim = max(differences.values()), problem.difference_aim
        outcome.ok = None if aim is None else worst <= aim
        outcome.values = {"relative_differences": differences, "aim": aim}
        outcome.said = f"{worst:.1e}" + (f", allowed {aim:.0e}" if aim else ", in bf16 not judged")
    return outcome


def _memory(call: Call, problem: Problem, chunked: str, liger: list[str]) -> Outcome:
    with measured(NAME, f"memory, {problem.sizes()}") as outcome:
        extra = {variant: call(variants.measure_memory, problem, variant) for variant in ("plain", chunked, *liger)}
        ratio = extra[chunked] / extra["plain"]
        outcome.ok = ratio <= problem.memory_aim
        outcome.values = {"extra_bytes": extra, "ratio": ratio, "aim": problem.memory_aim}
        outcome.said = f"{ratio:.3f} of plain's, allowed {problem.memory_aim:.3g}"
    return outcome


def _time(call: Call, problem: Problem, chunked: str, liger: list[str]) -> Outcome:
    with measured(NAME, f"time, {problem.sizes()}") as outcome:
        seconds, _ = call(variants.measure_seconds, problem, ["plain", chunked, *liger], ROUNDS)
        ratio = median_ratio(seconds, chunked, "plain")
        medians = {variant: median(times) for variant, times in seconds.items()}
        outcome.values = {"median_seconds": medians, "ratio": ratio, "aim": problem.time_aim}
        outcome.said, allowed, good = f"{ratio:.2f} x plain", f"{problem.time_aim:g}", ratio <= problem.time_aim
        if liger:
            to_liger = outcome.values["ratio_liger"] = median_ratio(seconds, chunked, "liger-none")
            outcome.said, allowed = f"{outcome.said}, {to_liger:.2f} x liger-kernel", f"{allowed} and 1"
            good = good and to_liger <= 1
        judged = problem.device == "cuda"
        outcome.ok = good if judged else None
        outcome.said += f", allowed {allowed}" if judged else ", not judged on a CPU"
    return outcome


def tokens_that_fit(vocab: int, most: int) -> int:
    """The largest power of two up to `most` whose full logits fit into the free memory of this GPU."""
    free, _ = torch.cuda.mem_get_info()
    tokens = most
    while tokens > 1024 and PLAIN_LOGITS * 4 * tokens * vocab > free:
        tokens //= 2
    return tokens
