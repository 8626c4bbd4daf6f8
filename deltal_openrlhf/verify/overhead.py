"""What ∆L and its guards cost on this machine: ppo_train with them over the stock host's, in pairs (trainers.py)."""

from collections.abc import Iterator

from deltal_openrlhf.parity import RankPool
from deltal_openrlhf.verify.budget import Budget
from deltal_openrlhf.verify.outcome import Outcome, measured

NAME = "overhead"
PAIRS = 60
ENOUGH = 20
"""Pairs, fewer of which are not judged: on a busy machine a few say nothing."""
START = 150.0
"""Seconds that the start may take beyond the budget: on a GPU, DeepSpeed's fused Adam may have to be compiled first."""
TOO_MUCH = 1.05
"""A ratio that fails: where even the lower end of its interval is above. scripts/bench_overhead.py, with more pairs, holds it to less."""


def run(budget: Budget) -> Iterator[Outcome]:
    from deltal_openrlhf.verify.trainers import summarise, time_pairs

    with measured(NAME, "ppo_train with ∆L over the stock host's") as outcome, RankPool(1, budget.console) as pool:
        seconds = budget.left
        found = summarise(pool.call(time_pairs, PAIRS, seconds, timeout=seconds + START)[0])
        low, high = found["interval_95"]
        enough = found["pairs"] >= ENOUGH
        outcome.ok, outcome.values = low <= TOO_MUCH if enough else None, found
        outcome.said = f"{found['median_ratio']:.3f} [{low:.3f}, {high:.3f}], {found['pairs']} pairs of {found['host_seconds']:.2f} s"
        outcome.said += "" if enough else f", not judged below {ENOUGH} pairs"
    yield outcome
