"""--deltal.sgd in the real trainer and DeepSpeed engine: the step of plain SGD by brute force."""

import pytest

from deltal_openrlhf.parity import Case, run_on_ranks

TOLERANCE = 1e-5
CASES = [
    Case(zero=0, micro=4),
    Case(zero=1, dynamic=True),
    Case(zero=2, micro=4, steps=4),
    Case(zero=3, micro=4, steps=2),
]
CONTROL = Case(zero=2, micro=4)


@pytest.fixture(scope="module")
def errors() -> dict:
    cases = [*((case, True) for case in CASES), (CONTROL, False)]
    return dict(zip(cases, run_on_ranks(1, _train, cases, timeout=110)[0], strict=True))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_update_is_that_of_plain_sgd(errors, case):
    found = errors[case, True]
    assert found["relative_error"] <= TOLERANCE
    assert found["largest"] >= 1e-2
    assert found["optimizer"] == "SGD"


def test_without_the_flag_it_is_not(errors):
    found = errors[CONTROL, False]
    assert found["relative_error"] > 0.1
    assert found["optimizer"] != "SGD"


def test_a_checkpoint_of_adam_is_not_gone_on_from_with_sgd():
    from deltal_openrlhf.host.settings import LossSettings

    adam, sgd = (LossSettings("deltal", 0.75, "step", 100.0, False, sgd) for sgd in (False, True))
    assert sgd.differences(adam.to_dict()) == ["sgd: saved False, now True"]
    assert adam.differences(sgd.to_dict()) == ["sgd: saved True, now False"]
    older = {key: value for key, value in adam.to_dict().items() if key != "sgd"}
    assert adam.differences(older) == [] and len(sgd.differences(older)) == 1
    assert sgd.describe() == "∆L is active: alpha 0.75, scope step, M 100, plain SGD"


def _train(rank: int, cases: list) -> list[dict]:
    return [_errors(case, sgd) for case, sgd in cases]


def _errors(case: Case, sgd: bool) -> dict:
    """The trainer of parity with the strategy as a run has it: its optimizer is the one that the flags ask for."""
    from deltal_openrlhf.host.strategy import DeltaLStrategy
    from deltal_openrlhf.parity import host_update, reference
    from deltal_openrlhf.parity.cases import learning_rate

    used = []

    class Strategy(DeltaLStrategy):
        def _ds_init_train_model(self, model, cfg):
            rate = learning_rate(case) if sgd else 1e-3
            model, optimizer, scheduler = super()._ds_init_train_model(
                model, cfg | {"adam": cfg["adam"] | {"lr": rate}}
            )
            used.append(type(model.model.basic_optimizer).__name__)
            return model, optimizer, scheduler

    arguments = host_update.arguments

    def with_flag(case):
        args = arguments(case)
        args.deltal.sgd = sgd
        args.backend, args.algo.advantage.estimator = "deepspeed", "group_norm"
        args.actor.optim, args.actor.adam = "adam", type("Adam", (), {"weight_decay": 0.0})
        return args

    host_update.arguments = with_flag
    try:
        return reference.compare(case, host_update.train(case, 0, 1, strategy_class=Strategy)) | {"optimizer": used[-1]}
    finally:
        host_update.arguments = arguments
