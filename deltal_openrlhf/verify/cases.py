"""Cases on a number of ranks, one after the other, as long as there is time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from deltal_openrlhf.parity.spawn import RankPool, gpus_to_use
from deltal_openrlhf.verify import machine
from deltal_openrlhf.verify.outcome import Budget, Outcome, measured

FAILURES_IN_A_ROW = 3
"""Cases that raised, after which the rest is left out: something else than the case is broken."""

Check = Callable[[RankPool, Any, Outcome], None]
"""Runs a case in the pool and fills the outcome in."""


@dataclass(frozen=True)
class Block:
    """Cases on the same ranks. where: begins the line of those that are left out. always: the first so many run whatever the time."""

    where: str
    world: int
    cases: Sequence[Any]
    always: int


def run_blocks(part: str, blocks: Sequence[Block], check: Check, budget: Budget) -> Iterator[Outcome]:
    """One outcome a case. What time is left is shared evenly by the blocks that are left."""
    for i, block in enumerate(blocks):
        left = budget.left
        yield from _run_block(part, block, check, budget, until=left - left / (len(blocks) - i))


def _run_block(part: str, block: Block, check: Check, budget: Budget, until: float) -> Iterator[Outcome]:
    """until: seconds of the budget that are for the other blocks."""
    world, cases = block.world, block.cases
    if world > 1 and gpus_to_use() and not machine.talk(world).ok:
        said = f"all {len(cases)} cases left out: {world} ranks cannot talk (part machine)"
        yield Outcome(part, block.where, said=said)
        return
    in_a_row = 0
    with RankPool(world, budget.console) as pool:
        for number, case in enumerate(cases):
            why = ""
            if in_a_row == FAILURES_IN_A_ROW:
                why = "after these failures"
            elif number >= block.always and budget.left <= until:
                why = "for lack of time (--seconds)"
            if why:
                yield Outcome(part, block.where, said=f"{len(cases) - number} of {len(cases)} cases left out {why}")
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
