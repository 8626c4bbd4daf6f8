"""The update of the real trainer (ActorPPOTrainer and DeepSpeed engine) against brute force: a covering part of the matrix.

One spawn per number of ranks serves all cases. `deltal verify --only gradients --seconds 900` runs everything.
"""

import pytest

from deltal_openrlhf.parity import Case, Result, run_cases

TOLERANCE = 1e-5

LOSSES = [
    # Every mode and scope, with ranks, micro batch sizes, ZeRO stages and dynamic batches spread over them.
    Case(mode="token-mean", world=1, micro=2, zero=0),
    Case(mode="token-mean", world=2, zero=2, dynamic=True),
    Case(mode="seq-mean-token-mean", world=2, micro=1, zero=1),
    Case(mode="seq-mean-token-mean", world=1, zero=1, dynamic=True),
    Case(mode="seq-mean-token-sum-norm", world=1, micro=4, zero=3),
    Case(mode="seq-mean-token-sum-norm", world=2, zero=0, dynamic=True),
    Case(scope="step", world=1, micro=1, zero=2),
    Case(scope="step", world=2, micro=4, zero=3),
    Case(scope="step", world=2, zero=3, dynamic=True),
    Case(scope="rollout", steps=2, world=1, micro=2, zero=2),
    Case(scope="rollout", steps=2, world=2, zero=1, dynamic=True),
    Case(scope="group", steps=2, world=2, micro=2, zero=0),
    Case(scope="group", steps=2, world=1, zero=2, dynamic=True),
    Case(mode="prompt-mean", steps=2, world=2, micro=2),
    Case(mode="prompt-mean", steps=2, world=1, dynamic=True, filtering=True),
    Case(mode="balanced", steps=2, world=1, micro=2, filtering=True),
    Case(mode="balanced", steps=2, world=2, dynamic=True),
    Case(gspo=True, world=2, micro=2, holes=True),
    Case(gspo=True, mode="seq-mean-token-sum-norm", world=1, dynamic=True),
]
FEATURES = [
    Case(world=1, micro=2, packing=True),
    Case(world=1, micro=2, epochs=2, steps=2),
    Case(world=2, micro=2, kl=True, entropy=True),
    Case(world=1, micro=2, dual_clip=3.0, holes=True),
    Case(world=1, micro=2, correction="token"),
    Case(world=2, micro=2, correction="seq"),
    Case(world=1, micro=4, lora=True),
    Case(world=1, micro=4, steps=2, ema=True),
    Case(world=2, micro=2, filtering=True),
    Case(mode="token-mean", world=1, micro=1, filtering=True, kl=True),
    Case(world=1, micro=2, steps=2, short=True),
    Case(world=2, micro=2, steps=2, short=True, zero=3),
]
CONTROLS = [Case(world=2, micro=2, wrong="micro-batch"), Case(world=1, micro=2, wrong="scale")]
ADAMW = [
    Case(world=1, micro=4, adamw=True),
    Case(world=2, micro=1, adamw=True),
    Case(world=2, zero=3, dynamic=True, adamw=True),
]


@pytest.fixture(scope="module")
def results() -> dict[Case, Result]:
    cases = LOSSES + FEATURES + CONTROLS + ADAMW
    return {result.case: result for result in run_cases(cases, timeout=240)}


@pytest.mark.parametrize("case", LOSSES + FEATURES, ids=str)
def test_update_is_the_brute_force_update(results, case):
    result = results[case]
    assert result.loss_steps == case.steps * case.epochs
    assert result.largest >= 1e-2
    assert result.relative_error <= TOLERANCE
    assert result.ema_error <= 1e-6


@pytest.mark.parametrize("case", [c for c in LOSSES + FEATURES if c.scope == "step"], ids=str)
def test_any_split_gives_the_same_parameters(results, case):
    assert results[case].difference <= 1e-6


@pytest.mark.parametrize("case", ADAMW, ids=str)
def test_any_split_gives_the_same_parameters_with_adamw(results, case):
    assert results[case].difference <= 1e-6


@pytest.mark.parametrize("case", CONTROLS, ids=str)
def test_negative_controls_fail(results, case):
    assert results[case].relative_error > 1000 * TOLERANCE
