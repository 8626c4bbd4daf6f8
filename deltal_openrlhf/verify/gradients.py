"""The gradient of the real DeepSpeed trainer on this machine against brute force, most telling cases first, as many as there is time for.

The cases are those of parity/matrix.py: fp32, plain SGD at learning rate 1, no clipping, so that nothing hides a constant factor. On one
rank and on two; with 4 and 8 GPUs also on as many ranks.
"""

from collections.abc import Iterator

from deltal_openrlhf.parity import Case, RankPool, matrix, run_case
from deltal_openrlhf.parity.spawn import gpus_to_use
from deltal_openrlhf.verify.budget import Budget
from deltal_openrlhf.verify.outcome import Outcome, measured

NAME = "gradients"
CASE_LIMIT = 90.0
"""Seconds for one case, the start of its processes included."""
FAILURES_IN_A_ROW = 3
"""After so many the rest of that number of ranks is left out: something else than the case is broken."""


def worlds(gpus: int) -> list[int]:
    return [1, 2, *(world for world in (4, 8) if world <= gpus)]


def cases_of(world: int) -> list[Case]:
    if world <= 2:
        return matrix.most_telling_first(world)
    return [*matrix.controls(world), *(Case(world=world, micro=2, zero=zero) for zero in range(4))]


def run(budget: Budget) -> Iterator[Outcome]:
    numbers = worlds(gpus_to_use())
    for i, world in enumerate(numbers):
        # What is left is shared out evenly; two ranks get what one left over.
        left = budget.left
        yield from _cases_on(world, budget, left - left / (len(numbers) - i))


def _cases_on(world: int, budget: Budget, until: float) -> Iterator[Outcome]:
    """until: of the budget's seconds so many are for others."""
    cases, failed_before = cases_of(world), 0
    pool = RankPool(world, budget.console)
    try:
        for number, case in enumerate(cases):
            # The first case and the negative controls are what makes the rest worth anything: they always run.
            if number > len(matrix.MISTAKES) and (budget.left <= until or failed_before == FAILURES_IN_A_ROW):
                why = "for lack of time (--seconds)" if failed_before < FAILURES_IN_A_ROW else "after these failures"
                yield Outcome(
                    NAME, f"{world} rank(s)", said=f"{len(cases) - number} of {len(cases)} cases left out {why}"
                )
                return
            with measured(NAME, f"{case}") as outcome:
                result = run_case(pool, case, CASE_LIMIT)
                outcome.ok = result.good()
                outcome.values = {
                    "case_fields": vars(case),
                    "relative_error": result.relative_error,
                    "largest_change": result.largest,
                }
                noticed = "" if case.wrong is None else ", noticed" if outcome.ok else ", NOT NOTICED"
                outcome.said = f"{result.relative_error:.1e}{noticed}"
            yield outcome
            failed_before = failed_before + 1 if "error" in outcome.values else 0
            if failed_before:
                pool.close()
                pool = RankPool(world, budget.console)
    finally:
        pool.close()
