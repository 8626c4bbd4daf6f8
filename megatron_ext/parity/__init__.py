"""Compares the sharded update with the same update in one process. `deltal parity --help` runs one case on this machine.

A case cuts a tiny model and a batch over ranks and micro batches, in processes of its own (gloo without GPUs, NCCL with them). The batch
has 16 responses of length 1 to 24, one of them empty. The trainer, the engine and the optimizer are those of a run.

Three things are compared: the whole gradient before clipping, the loss, and the parameters after two kinds of steps. One is a plain SGD
step with learning rate 1 and no clipping, so that nothing hides a constant factor. The other is an AdamW step whose clip binds. The other
side (reference.py) is transformers and autograd, one response at a time.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deltal_openrlhf.parity.spawn import RankPool
from megatron_ext.parity.cases import ShardedCase, build_model
from megatron_ext.parity.matrix import cases_for
from megatron_ext.parity_choices import TOLERANCES

__all__ = ["Result", "ShardedCase", "cases_for", "run_case", "run_cases"]

SAVED = ("gradient", "sgd", "adam")


@dataclass(frozen=True)
class Result:
    """gradient: ||g - g*|| / ||g*||. The others are the largest difference of one value. norm: ||g*||."""

    case: ShardedCase
    gradient: float
    loss: float
    sgd: float
    adam: float
    norm: float

    def fits(self) -> bool:
        gradient, loss, parameters = TOLERANCES[self.case.dtype]
        return self.gradient <= gradient and self.loss <= loss and max(self.sgd, self.adam) <= parameters

    def report(self) -> str:
        """Four lines and a verdict."""
        gradient, loss, parameters = TOLERANCES[self.case.dtype]
        rows = (
            ("gradient before clipping, relative difference", self.gradient, gradient),
            ("loss, difference", self.loss, loss),
            ("parameters after an SGD step (lr 1), largest difference", self.sgd, parameters),
            ("parameters after a clipped AdamW step, largest difference", self.adam, parameters),
        )
        lines = []
        for name, value, limit in rows:
            allowed = f"allowed {limit:.0e}{'' if value <= limit else '  TOO LARGE'}"
            lines.append(f"{name:<60} {value:.1e}  {'not judged' if limit == math.inf else allowed}")
        verdict = f"the sharded update is {'the update of one process' if self.fits() else 'another one'}"
        return "\n".join([*lines, f"norm of the gradient {self.norm:.3f}: {verdict}"])


def run_cases(cases: Sequence[ShardedCase], timeout: float) -> Iterator[Result]:
    """Train every case sharded and in this process, and compare: fewest ranks first. Cases of one world size share their processes.

    timeout: seconds that the ranks may take for a case. Raises RankFailed past it.
    """
    with tempfile.TemporaryDirectory() as folder:
        for world in sorted({case.world for case in cases}):
            # Megatron-Core's warnings and the host's bars, of every rank.
            with RankPool(world, Path(folder, "ranks.log")) as pool:
                for case in (case for case in cases if case.world == world):
                    yield run_case(pool, case, timeout)


def run_case(pool: RankPool, case: ShardedCase, timeout: float) -> Result:
    """Train a case in the pool's processes and in this one, and compare. The pool has case.world ranks. Raises RankFailed."""
    from safetensors.torch import load_file

    from megatron_ext.parity.reference import largest_difference, relative_difference, train

    with tempfile.TemporaryDirectory() as folder:
        build_model(case).save_pretrained(folder)
        loss = pool.call(_train, case, folder, timeout=timeout)[0]
        gradient, sgd, adam = (load_file(Path(folder, f"{name}.saved")) for name in SAVED)
    wanted = train(case)
    return Result(
        case,
        gradient=relative_difference(gradient, wanted["gradient"]),
        loss=abs(loss - wanted["loss"]),
        sgd=largest_difference(sgd, wanted["sgd"]),
        adam=largest_difference(adam, wanted["adam"]),
        norm=wanted["norm"],
    )


def _train(rank: int, case: ShardedCase, folder: str) -> float:
    """The loss. The first rank writes the tensors of SAVED into the folder, from which the model comes."""
    from safetensors.torch import save_file

    from megatron_ext.parity.sharded import train

    outcome = train(case, folder)
    if rank == 0:
        for name in SAVED:
            save_file(outcome[name], Path(folder, f"{name}.saved"))
    return outcome["loss"]
