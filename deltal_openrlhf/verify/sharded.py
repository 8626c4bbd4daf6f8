"""The Megatron backend's sharded update against one process: on plain modules, and on Transformer Engine where that is installed.

The cases are the covering set of megatron_ext/parity/matrix.py on one rank and on two, with 4 GPUs or more also on four: every way to cut
a model, with negative controls.
"""

import importlib.util
from collections.abc import Iterator

from deltal_openrlhf.parity import RankPool
from deltal_openrlhf.parity.spawn import gpus_to_use
from deltal_openrlhf.verify.budget import Budget
from deltal_openrlhf.verify.outcome import Outcome, measured
from megatron_ext.modules import Modules

NAME = "megatron"
CASE_LIMIT = 120.0
"""Seconds for one case, the start of its processes included."""


def run(budget: Budget) -> Iterator[Outcome]:
    missing = [name for name in ("megatron.core", "mbridge") if not _is_there(name)]
    if missing:
        yield Outcome(NAME, "all", said=f"left out: {missing[0]} is not installed (only --backend megatron needs it)")
        return
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    gpus = gpus_to_use()
    kinds: list[Modules] = ["plain"]
    kinds += ["transformer-engine"] * (gpus > 0 and _is_there("transformer_engine"))
    worlds = [1, 2] + [4] * (gpus >= 4)
    blocks = [(kind, world) for kind in kinds for world in worlds]
    for i, (kind, world) in enumerate(blocks):
        left = budget.left
        yield from _cases_on(kind, world, budget, left - left / (len(blocks) - i))
    if gpus and len(kinds) == 1:
        yield Outcome(NAME, "transformer-engine", said="left out: it is not installed, and training on GPUs needs it")


def _cases_on(kind: Modules, world: int, budget: Budget, until: float) -> Iterator[Outcome]:
    """until: of the budget's seconds so many are for others."""
    from megatron_ext.parity import run_case
    from megatron_ext.parity.matrix import cases_for

    # A right one and the mistakes first: they are what makes the rest worth anything, and they always run.
    cases = [case for case in cases_for(kind) if case.world == world]
    controls = [case for case in cases if case.wrong]
    right = [case for case in cases if not case.wrong]
    cases = [*right[:1], *controls, *right[1:]]
    always = 1 + min(len(controls), 2)
    with RankPool(world, budget.console) as pool:
        for number, case in enumerate(cases):
            if number >= always and budget.left <= until:
                said = f"{len(cases) - number} of {len(cases)} cases left out for lack of time (--seconds)"
                yield Outcome(NAME, f"{kind}, {world} rank(s)", said=said)
                return
            with measured(NAME, f"{kind}, {case}") as outcome:
                result = run_case(pool, case, CASE_LIMIT)
                outcome.ok = result.fits() == (case.wrong is None)
                outcome.values = {
                    "modules": kind,
                    "world": world,
                    "wrong": case.wrong,
                    "gradient": result.gradient,
                    "loss": result.loss,
                    "sgd": result.sgd,
                    "adam": result.adam,
                }
                noticed = "" if case.wrong is None else ", noticed" if outcome.ok else ", NOT NOTICED"
                outcome.said = f"gradient {result.gradient:.1e}{noticed}"
            yield outcome
            if "error" in outcome.values:
                return  # with the processes of the pool


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even its package
        return False
