"""Compares the Megatron backend's sharded update with one process, on plain modules, and on Transformer Engine if that is installed.

The cases are the covering set of megatron_ext/parity/matrix.py: every way to cut a model, with negative controls. They run on one rank and
on two, and with 4 GPUs or more also on four.
"""

from collections.abc import Iterator

from deltal_openrlhf.parity import RankPool
from deltal_openrlhf.parity.spawn import gpus_to_use
from deltal_openrlhf.runs.packages import installed_version
from deltal_openrlhf.verify.cases import Block, noticed, run_blocks
from deltal_openrlhf.verify.outcome import Budget, Outcome
from megatron_ext.modules import Modules
from megatron_ext.parity.cases import ShardedCase

NAME = "megatron"
CASE_LIMIT = 120.0
"""Seconds for one case, the start of its processes included."""


def run(budget: Budget) -> Iterator[Outcome]:
    missing = [name for name in ("megatron-core", "mbridge") if not installed_version(name)]
    if missing:
        yield Outcome(NAME, "all", said=f"left out: {missing[0]} is not installed (only --backend megatron needs it)")
        return
    from transformers.utils.logging import disable_progress_bar

    from megatron_ext.parity.matrix import cases_for

    disable_progress_bar()
    gpus = gpus_to_use()
    kinds: list[Modules] = ["plain"]
    kinds += ["transformer-engine"] * (gpus > 0 and installed_version("transformer-engine") is not None)
    worlds = [1, 2] + [4] * (gpus >= 4)
    blocks = [_block(kind, world, cases_for(kind)) for kind in kinds for world in worlds]
    yield from run_blocks(NAME, blocks, check, budget)
    if gpus and len(kinds) == 1:
        yield Outcome(NAME, "transformer-engine", said="left out: it is not installed, and training on GPUs needs it")


def _block(kind: Modules, world: int, cases: list[ShardedCase]) -> Block:
    """A right case, the negative controls, and the other right ones."""
    right, wrong = ([c for c in cases if c.world == world and bool(c.wrong) is so] for so in (False, True))
    always = min(3, 1 + len(wrong))  # a right case and both mistakes
    return Block(f"{kind}, {world} rank(s)", world, [*right[:1], *wrong, *right[1:]], always)


def check(pool: RankPool, case: ShardedCase, outcome: Outcome) -> None:
    from megatron_ext.parity import run_case

    result = run_case(pool, case, CASE_LIMIT)
    outcome.case = f"{case.modules}, {case}"
    outcome.ok = result.fits() == (case.wrong is None)
    outcome.values = {name: getattr(case, name) for name in ("modules", "world", "wrong")}
    outcome.values |= {name: getattr(result, name) for name in ("gradient", "loss", "sgd", "adam")}
    outcome.said = f"gradient {result.gradient:.1e}{noticed(outcome, case.wrong)}"
