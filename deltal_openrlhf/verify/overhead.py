"""Measures the cost of ∆L and its guards: the stock host's trainer and ours, on two equal DeepSpeed engines in one process, timed in pairs.

The model is a Llama of 26 million parameters in fp32 with ZeRO-2 and AdamW. The host runs ActorPPOTrainer and DeepspeedStrategy untouched,
with token-mean. Ours runs deltal with alpha 0.75 and every guard.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from deltal_openrlhf.parity import Case, RankPool
from deltal_openrlhf.parity.cases import make_model
from deltal_openrlhf.verify.outcome import Budget, Outcome, measured

NAME = "overhead"
PAIRS = 60
ENOUGH = 20
"""Pairs, fewer of which are not judged: on a busy machine a few say nothing."""
LEAST_PAIRS = 5
DRAWS = 10_000
START = 150.0
"""Seconds that the start may take beyond the budget: on a GPU, DeepSpeed's fused Adam may have to be compiled first."""
TOO_MUCH = 1.05
"""A ratio that fails: where even the lower end of its interval is above. scripts/bench_overhead.py, with more pairs, holds it to less."""
LLAMA = {
    "vocab_size": 4096,
    "hidden_size": 448,
    "intermediate_size": 1280,
    "num_hidden_layers": 9,
    "num_attention_heads": 7,
    "num_key_value_heads": 7,
}
"""A Llama of 26 million parameters."""


def run(budget: Budget) -> Iterator[Outcome]:
    with measured(NAME, "ppo_train with ∆L over the stock host's") as outcome, RankPool(1, budget.console) as pool:
        seconds = budget.left
        found = summarise(pool.call(time_pairs, PAIRS, seconds, timeout=seconds + START)[0])
        low, high = found["interval_95"]
        enough = found["pairs"] >= ENOUGH
        outcome.ok, outcome.values = low <= TOO_MUCH if enough else None, found
        outcome.said = f"{found['median_ratio']:.3f} [{low:.3f}, {high:.3f}], {found['pairs']} pairs of {found['host_seconds']:.2f} s"
        outcome.said += "" if enough else f", not judged below {ENOUGH} pairs"
    yield outcome


def time_pairs(
    rank: int, pairs: int, seconds: float, progress: Callable[[int, int], None] = lambda done, pairs: None
) -> dict[str, Any]:
    """Seconds of every ppo_train of both trainers. The order within a pair alternates. No further pair begins after `seconds`."""
    from openrlhf.trainer.ray.ppo_actor import ActorPPOTrainer
    from openrlhf.utils.deepspeed import DeepspeedStrategy

    from deltal_openrlhf.parity import host_update

    begun = time.monotonic()
    model = make_model(lora=False, sizes=LLAMA)
    parameters = sum(p.numel() for p in model.parameters())
    ours = host_update.build_trainer(Case(mode="deltal", alpha=0.75, micro=4, adamw=True), max_norm=1.0, model=model)
    host = host_update.build_trainer(
        Case(mode="token-mean", micro=4),
        max_norm=1.0,
        model=make_model(lora=False, sizes=LLAMA),
        strategy_class=DeepspeedStrategy,
        trainer_class=ActorPPOTrainer,
    )
    trainers = {"host": host, "ours": ours}
    for trainer in trainers.values():
        for sample in host_update.experiences(Case()):
            trainer.replay_buffer.append(sample)
        trainer.ppo_train(0.0)  # allocations and optimizer state
    times: dict[str, list[float]] = {"host": [], "ours": []}
    for pair in range(pairs):
        if pair >= LEAST_PAIRS and time.monotonic() - begun > seconds:
            break
        for name in ("host", "ours") if pair % 2 else ("ours", "host"):
            begin = time.perf_counter()
            trainers[name].ppo_train(0.0)
            times[name].append(time.perf_counter() - begin)
        progress(pair + 1, pairs)
    return {"parameters": parameters, **times}


def summarise(measured: dict[str, Any]) -> dict[str, Any]:
    """Median ratio of ours over the host's, within pairs, with a percentile bootstrap 95 % interval of DRAWS seeded draws."""
    ratios = [ours / host for ours, host in zip(measured["ours"], measured["host"], strict=True)]
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(DRAWS))
    return {
        "parameters": measured["parameters"],
        "pairs": len(ratios),
        "host_seconds": statistics.median(measured["host"]),
        "ours_seconds": statistics.median(measured["ours"]),
        "median_ratio": statistics.median(ratios),
        "interval_95": [medians[int(0.025 * DRAWS)], medians[int(0.975 * DRAWS)]],
    }
