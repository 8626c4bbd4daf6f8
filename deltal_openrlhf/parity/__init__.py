"""Compares the real trainer's update with brute force. ActorPPOTrainer and the DeepSpeed engine are those of a run, without Ray and vLLM.

A case (cases.py) fixes a batch of responses, one of them empty, and cuts it into ranks, micro batches or dynamic batches. The real trainer
(host_update.py) trains it in fp32, with plain SGD at learning rate 1 and without clipping. The change of the parameters is compared with a
reference (reference.py) that takes one response at a time. Adam and clipping would hide a constant factor, the classic mistake here, so
neither is used.

`deltal verify --only gradients --seconds 900` runs the whole matrix (matrix.py), and tests/parity/test_gradients.py a covering part of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deltal_openrlhf.parity.cases import Case
from deltal_openrlhf.parity.spawn import RankPool, run_on_ranks

__all__ = ["Case", "RankPool", "Result", "run_case", "run_cases", "run_on_ranks"]

TOLERANCE = 1e-5


@dataclass
class Result:
    """relative_error: ||change - reference|| / ||reference||; largest: biggest change of one parameter; difference: biggest gap."""

    case: Case
    relative_error: float
    largest: float
    difference: float
    loss_steps: int
    ema_error: float = 0.0

    def good(self) -> bool:
        """A case agrees; a negative control clearly does not."""
        if self.case.wrong is not None:
            return self.relative_error > 100 * TOLERANCE
        return self.relative_error <= TOLERANCE and self.largest >= 1e-2 and self.ema_error <= 1e-6


def run_case(pool: RankPool, case: Case, timeout: float) -> Result:
    """Train one case in the pool's processes and compare. The pool has case.world ranks. Raises RankFailed."""
    return Result(case, **pool.call(_train_and_compare, case, timeout=timeout)[0])


def run_cases(cases: Sequence[Case], timeout: float) -> Iterator[Result]:
    """Train every case and compare: fewest ranks first. Cases of one world size share their processes. timeout: seconds for a case."""
    for world in sorted({case.world for case in cases}):
        with RankPool(world) as pool:
            yield from (run_case(pool, case, timeout) for case in cases if case.world == world)


def _train_and_compare(rank: int, case: Case) -> dict[str, float]:
    # The host is imported in the processes that train, after the CPU layer.
    from deltal_openrlhf.parity.host_update import train
    from deltal_openrlhf.parity.reference import compare

    outcome = train(case, rank, case.world)
    return compare(case, outcome) if rank == 0 else {}
