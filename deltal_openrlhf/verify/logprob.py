"""Log-probabilities in chunks against full logits, and against liger-kernel where it is installed: memory, time and error.

On a GPU the sizes are those of a 7B model (32,768 tokens, vocabulary 151,936, hidden size 3,584, bf16), with fewer tokens where the memory
does not hold their logits. There the error is judged in fp32 on small sizes. On a CPU all sizes are small, and the times, which other
programs disturb, are not judged.
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from deltal_openrlhf.parity import RankPool
from deltal_openrlhf.parity.spawn import gpus_to_use
from deltal_openrlhf.verify.budget import Budget
from deltal_openrlhf.verify.outcome import Outcome, measured

NAME = "logprob"
CALL_LIMIT = 120.0
"""Seconds for one measurement."""
ROUNDS = 5
PLAIN_LOGITS = 3.5
"""fp32 copies of all logits that plain forward and backward hold at their peak, with room to spare."""


def run(budget: Budget) -> Iterator[Outcome]:
    from deltal_openrlhf.verify.logprob_variants import (
        CPU,
        GPU,
        Problem,
        find_liger,
        measure_differences,
        measure_memory,
        measure_seconds,
        paired,
    )

    gpu = gpus_to_use() > 0
    exact = replace(CPU, num_tokens=1024, vocab=16384, hidden_size=256)
    if gpu:
        exact = replace(exact, device="cuda")
        problem = replace(GPU, num_tokens=tokens_that_fit(GPU.vocab, GPU.num_tokens))
        chunked, liger = "chunked-1024", find_liger()
    else:
        problem, chunked, liger = exact, "chunked-128", []

    with RankPool(1, budget.console) as pool:

        def call(function: Callable, problem: Problem, *arguments: Any) -> Any:
            return pool.call(function, problem, *arguments, None, timeout=CALL_LIMIT)[0]

        for checked in dict.fromkeys((exact, problem)):
            with measured(NAME, f"difference, {checked.sizes()}") as outcome:
                differences = call(measure_differences, checked, [chunked])[chunked]
                worst, aim = max(differences.values()), checked.difference_aim
                outcome.ok = None if aim is None else worst <= aim
                outcome.values = {"relative_differences": differences, "aim": aim}
                outcome.said = f"{worst:.1e}" + (f", allowed {aim:.0e}" if aim else ", in bf16 not judged")
            yield outcome
        with measured(NAME, f"memory, {problem.sizes()}") as outcome:
            extra = {}
            for variant in ("plain", chunked, *liger):
                extra[variant] = call(measure_memory, problem, variant)
                if not gpu:
                    pool.close()  # the next one in a process of its own: what one has freed stays resident
            ratio = extra[chunked] / extra["plain"]
            outcome.ok = ratio <= problem.memory_aim
            outcome.values = {"extra_bytes": extra, "ratio": ratio, "aim": problem.memory_aim}
            outcome.said = f"{ratio:.3f} of plain's, allowed {problem.memory_aim:.3g}"
        yield outcome
        if not budget.left:
            yield Outcome(NAME, "time", said="left out for lack of time (--seconds)")
            return
        with measured(NAME, f"time, {problem.sizes()}") as outcome:
            seconds, _ = call(measure_seconds, problem, ["plain", chunked, *liger], ROUNDS)
            to_plain = statistics.median(paired(seconds, chunked, "plain"))
            outcome.values = {
                "median_seconds": {variant: statistics.median(times) for variant, times in seconds.items()},
                "ratio": to_plain,
                "aim": problem.time_aim,
            }
            outcome.said = f"{to_plain:.2f} x plain"
            good = to_plain <= problem.time_aim
            if liger:
                to_liger = outcome.values["ratio_liger"] = statistics.median(paired(seconds, chunked, "liger-none"))
                outcome.said += f", {to_liger:.2f} x liger-kernel"
                good = good and to_liger <= 1
            outcome.ok = good if gpu else None
            outcome.said += (
                f", allowed {problem.time_aim:g}{' and 1' if liger else ''}" if gpu else ", not judged on a CPU"
            )
        yield outcome


def tokens_that_fit(vocab: int, most: int) -> int:
    """The largest power of two up to `most` whose full logits fit into the free memory of this GPU."""
    import torch

    free, _ = torch.cuda.mem_get_info()
    tokens = most
    while tokens > 1024 and PLAIN_LOGITS * 4 * tokens * vocab > free:
        tokens //= 2
    return tokens
