"""Checks that a loss or gradient that is not finite stops a run before the update, in bf16, with DeepSpeed's optimizers on this machine.

On GPUs these are its fused Adam and, with ZeRO-0, its own wrapper around it. On a CPU it is torch's AdamW.
"""

import math
from collections.abc import Iterator
from typing import Any

from deltal_openrlhf.parity import Case, RankPool
from deltal_openrlhf.verify.cases import Block, run_blocks
from deltal_openrlhf.verify.outcome import Budget, Outcome

NAME = "guards"
CASE_LIMIT = 150.0
"""Seconds for one case. The first one compiles DeepSpeed's fused Adam on a GPU, about a minute."""
STOPPED = "stopped before the optimizer step, the parameters are unchanged"


def run(budget: Budget) -> Iterator[Outcome]:
    cases = [Case(bf16=True, adamw=True, zero=stage, micro=4) for stage in range(4)]
    yield from run_blocks(NAME, [Block("ZeRO stages", 1, cases, always=1)], check, budget)


def check(pool: RankPool, case: Case, outcome: Outcome) -> None:
    outcome.values = found = pool.call(poisoned_updates, case, timeout=CASE_LIMIT)[0]
    faults = faults_of(found)
    outcome.ok = not faults
    outcome.said = "; ".join(faults) or f"nan and inf stop it before the update (DeepSpeed's {found['optimizer']})"


def faults_of(found: dict[str, Any]) -> list[str]:
    """What is not as it should be, in words."""
    faults = []
    if not found["moved"] > 0:
        faults.append("a good update moved nothing, so that the guards have nothing to prevent")
    for kind in ("loss", "gradient"):
        if STOPPED not in found[f"{kind}_said"]:
            faults.append(f"a {kind} that is not finite was not noticed")
        if found[f"{kind}_moved"] != 0.0:
            faults.append(f"a {kind} that is not finite moved the parameters by {found[f'{kind}_moved']:.1e}")
    return faults


def poisoned_updates(rank: int, case: Case) -> dict[str, Any]:
    """A good update; one with a loss of nan; one with a gradient of inf. How far each moved the parameters, and what was said."""
    from deltal_openrlhf.parity import host_update

    found: dict[str, Any] = {}
    for kind in ("loss", "gradient"):
        trainer = host_update.build_trainer(case, max_norm=1.0)
        before = host_update.parameters(trainer.actor)
        _fill(trainer, case)
        trainer.ppo_train(0.0)
        good = host_update.parameters(trainer.actor)
        engine = trainer.actor.model
        found["optimizer"] = f"{type(engine.optimizer).__name__} around {type(engine.basic_optimizer).__name__}"
        found["moved"] = _distance(before, good)
        trainer.replay_buffer.clear()
        _fill(trainer, case)
        if kind == "loss":
            trainer.replay_buffer.items[0].advantages.fill_(math.nan)
        else:
            next(iter(engine.module.parameters())).register_hook(lambda gradient: gradient * math.inf)
        try:
            trainer.ppo_train(0.0)
            found[f"{kind}_said"] = "nothing"
        except RuntimeError as error:
            found[f"{kind}_said"] = str(error)
        found[f"{kind}_moved"] = _distance(good, host_update.parameters(trainer.actor))
    return found


def _fill(trainer: Any, case: Case) -> None:
    from deltal_openrlhf.parity import host_update

    for sample in host_update.experiences(case):
        trainer.replay_buffer.append(sample)


def _distance(before: dict, after: dict) -> float:
    """Largest change of one value; inf if one is no number."""
    largest = max(float((after[name].float() - before[name].float()).abs().max()) for name in before)
    return largest if math.isfinite(largest) else math.inf
