"""Compares the gradient of the real DeepSpeed trainer on this machine with brute force. The most telling cases come first, as many as the
time allows.

The cases are those of parity/matrix.py: fp32, plain SGD at learning rate 1, no clipping, so that nothing hides a constant factor. They run
on one rank and on two, and with 4 and 8 GPUs also on as many ranks.
"""

from collections.abc import Iterator

from deltal_openrlhf.parity import Case, RankPool, matrix, run_case
from deltal_openrlhf.parity.spawn import gpus_to_use
from deltal_openrlhf.verify.cases import Block, noticed, run_blocks
from deltal_openrlhf.verify.outcome import Budget, Outcome

NAME = "gradients"
CASE_LIMIT = 90.0
"""Seconds for one case, the start of its processes included."""
ALWAYS = 1 + len(matrix.MISTAKES)
"""A right case and the negative controls are what makes the rest worth anything."""


def worlds(gpus: int) -> list[int]:
    return [1, 2, *(world for world in (4, 8) if world <= gpus)]


def cases_of(world: int) -> list[Case]:
    if world <= 2:
        return matrix.most_telling_first(world)
    right = [Case(world=world, micro=2, zero=zero) for zero in range(4)]
    return [right[0], *matrix.controls(world), *right[1:]]


def run(budget: Budget) -> Iterator[Outcome]:
    blocks = [Block(f"{world} rank(s)", world, cases_of(world), ALWAYS) for world in worlds(gpus_to_use())]
    yield from run_blocks(NAME, blocks, check, budget)


def check(pool: RankPool, case: Case, outcome: Outcome) -> None:
    result = run_case(pool, case, CASE_LIMIT)
    outcome.ok = result.good()
    outcome.values = {
        "case_fields": vars(case),
        "relative_error": result.relative_error,
        "largest_change": result.largest,
    }
    outcome.said = f"{result.relative_error:.1e}{noticed(outcome, case.wrong)}"
