"""Cases on a number of ranks, one after the other, as long as there is time."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from deltal_openrlhf.parity.spawn import RankPool, gpus_to_use
from deltal_openrlhf.verify import machine
from deltal_openrlhf.verify.budget import Budget
from deltal_openrlhf.verify.outcome import Outcome, measured

FAILURES_IN_A_ROW = 3
"""Cases that raised, after which the rest is left out: something else than the case is broken."""


def run_in_order(
    part: str,
    where: str,
    world: int,
    cases: Sequence[Any],
    check: Callable[[RankPool, Any, Outcome], None],
    *,
    always: int,
    budget: Budget,
    until: float,
) -> Iterator[Outcome]:
    """check(pool, case, outcome) for each case. where: what the line of those that are left out begins with.

    always: the first so many run even where no time is left. until: seconds of the budget that are for others.
    """
    if world > 1 and gpus_to_use() and not machine.talk(world).ok:
        yield Outcome(part, where, said=f"all {len(cases)} cases left out: {world} ranks cannot talk (part machine)")
        return
    in_a_row = 0
    with RankPool(world, budget.console) as pool:
        for number, case in enumerate(cases):
            why = ""
            if in_a_row == FAILURES_IN_A_ROW:
                why = "after these failures"
            elif number >= always and budget.left <= until:
                why = "for lack of time (--seconds)"
            if why:
                yield Outcome(part, where, said=f"{len(cases) - number} of {len(cases)} cases left out {why}")
                return
            with measured(part, str(case)) as outcome:
                check(pool, case, outcome)
            yield outcome
            in_a_row = in_a_row + 1 if "error" in outcome.values else 0
            if outcome.values.get("kind") == "RankTimeout":  # the next one would take as long
                in_a_row = FAILURES_IN_A_ROW


def noticed(outcome: Outcome, wrong: str | None) -> str:
    """The end of the line of a negative control, nothing of another case."""
    return "" if wrong is None else ", noticed" if outcome.ok else ", NOT NOTICED"
