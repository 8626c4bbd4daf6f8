"""What must never reach the parameters, on the real trainer and DeepSpeed engine: empty steps, NaN and inf; and the host's faults."""

import math

import pytest
import torch

from deltal_openrlhf.parity import Case, run_on_ranks

CASES = [Case(zero=zero, ema=zero != 3, decay=True, adamw=True, filtering=True) for zero in (0, 1, 2, 3)]
CASES += [Case(zero=zero, bf16=True, decay=True, adamw=True, filtering=True) for zero in (0, 1, 2, 3)]
CASES += [Case(zero=zero, dynamic=True, decay=True, adamw=True, filtering=True) for zero in (2, 3)]


def _prepare(case, poison=None):
    """A trainer that has done one real AdamW step, so that it has momentum, with a full buffer again."""
    from deltal_openrlhf.parity.host_update import build_trainer, experiences

    trainer = build_trainer(case)
    for sample in experiences(case):
        trainer.replay_buffer.append(sample)
    trainer.ppo_train(0.0)
    trainer.replay_buffer.clear()
    for sample in experiences(case):
        if poison:
            poison(sample)
        trainer.replay_buffer.append(sample)
    return trainer


def _snapshot(trainer):
    from deltal_openrlhf.parity.host_update import parameters

    return torch.cat([p.flatten() for p in parameters(trainer.actor).values()])


def _empty_step(rank, cases):
    rows = []
    for case in cases:

        def truncate(sample):
            sample.truncated = torch.ones_like(sample.truncated)

        trainer = _prepare(case, truncate)
        from deltal_openrlhf.parity.host_update import parameters

        before, rate = _snapshot(trainer), trainer.actor_scheduler.get_last_lr()[0]
        average = [p.clone() for p in parameters(trainer.ema_model).values()] if case.ema else []
        status = trainer.ppo_train(0.0)
        after_average = list(parameters(trainer.ema_model).values()) if case.ema else []
        rows.append(
            {
                "moved": (_snapshot(trainer) - before).abs().max().item(),
                "average_moved": max(
                    ((a - b).abs().max().item() for a, b in zip(after_average, average, strict=True)), default=0.0
                ),
                "rate_before": rate,
                "rate_after": trainer.actor_scheduler.get_last_lr()[0],
                "status": {k: v for k, v in status.items() if isinstance(v, int | float)},
            }
        )
        # The next step trains again, so the momentum was there to move the weights.
        trainer.replay_buffer.clear()
        from deltal_openrlhf.parity.host_update import experiences

        for sample in experiences(case):
            trainer.replay_buffer.append(sample)
        trainer.ppo_train(0.0)
        rows[-1]["moved_next"] = (_snapshot(trainer) - before).abs().max().item()
    return rows


@pytest.fixture(scope="module")
def empty_steps():
    return dict(zip(CASES, run_on_ranks(1, _empty_step, CASES, timeout=100)[0], strict=True))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_step_with_nothing_left_moves_the_schedule_only(empty_steps, case):
    row = empty_steps[case]
    assert row["moved"] == 0.0
    assert row["average_moved"] == 0.0
    assert row["rate_after"] < row["rate_before"]
    assert row["status"]["deltal/skipped_steps"] == 1.0
    assert row["status"]["deltal/optimizer_steps"] == 0.0
    assert row["status"]["deltal/weight_sum_x_M"] == 0.0
    assert all(math.isfinite(value) for value in row["status"].values())
    assert row["moved_next"] > 1e-4


def _filtered_step_with_kl(rank):
    """Every response filtered, KL loss on: the KL term keeps them and trains."""

    def truncate(sample):
        sample.truncated = torch.ones_like(sample.truncated)

    trainer = _prepare(Case(adamw=True, filtering=True, kl=True), truncate)
    before = _snapshot(trainer)
    status = trainer.ppo_train(0.1)
    return {"moved": (_snapshot(trainer) - before).abs().max().item(), "skipped": status["deltal/skipped_steps"]}


def test_a_filtered_step_still_trains_the_kl_term():
    result = run_on_ranks(1, _filtered_step_with_kl, timeout=110)[0]
    assert result["moved"] > 1e-4
    assert result["skipped"] == 0.0


def _poisoned_loss(rank, case):
    def poison(sample):
        if sample.labels == ["7"]:
            sample.advantages = sample.advantages * math.nan

    from deltal_openrlhf.parity.host_update import build_trainer, experiences

    trainer = build_trainer(case)
    for sample in experiences(case)[rank :: case.world]:
        poison(sample)
        trainer.replay_buffer.append(sample)
    before = [p.detach().clone() for p in trainer.actor.model.module.parameters()]
    try:
        trainer.ppo_train(0.0)
        message = "trained"
    except RuntimeError as error:  # on the other rank: the connection to the one that stopped
        message = str(error)
    moved = max(
        (a - b).abs().max().item() for a, b in zip(trainer.actor.model.module.parameters(), before, strict=True)
    )
    return {"message": message, "moved": moved}


@pytest.mark.parametrize("case", [Case(world=2, micro=2, zero=2), Case(world=1, micro=4, zero=0)], ids=str)
def test_a_loss_that_is_not_finite_stops_before_the_update(case):
    results = run_on_ranks(case.world, _poisoned_loss, case, timeout=110)
    guilty = results[7 % case.world]
    assert f"the loss is nan on rank {7 % case.world}, micro batch" in guilty["message"]
    assert "'prompt 1'" in guilty["message"].split("prompts")[1]
    assert all(r["moved"] == 0.0 and r["message"] != "trained" for r in results)


def _poisoned_gradient(rank, cases):
    rows = []
    for case in cases:
        trainer = _prepare(case)
        before = _snapshot(trainer)
        weight = next(iter(trainer.actor.model.module.parameters()))
        weight.register_hook(lambda gradient: gradient * math.inf)
        try:
            trainer.ppo_train(0.0)
            message = "trained"
        except RuntimeError as error:
            message = str(error)
        rows.append({"message": message, "moved": (_snapshot(trainer) - before).abs().max().item()})
    return rows


def test_a_gradient_norm_that_is_not_finite_stops_before_the_update():
    cases = [Case(zero=zero, adamw=True) for zero in (0, 1, 2, 3)]
    cases += [Case(zero=zero, adamw=True, bf16=True) for zero in (0, 1, 2, 3)]
    cases += [Case(zero=zero, adamw=True, dynamic=True) for zero in (1, 2)]
    for case, row in zip(cases, run_on_ranks(1, _poisoned_gradient, cases, timeout=110)[0], strict=True):
        assert "the gradient norm is" in row["message"], case
        assert "rank 0 in optimizer step 2" in row["message"], case
        assert row["moved"] == 0.0, case


def _stock_host(rank):
    """The host's own trainer where ours is guarded: a micro batch of one empty response, and dynamic batches with ZeRO-2."""
    from openrlhf.trainer.ray.ppo_actor import ActorPPOTrainer
    from openrlhf.utils.deepspeed import DeepspeedStrategy

    from deltal_openrlhf.parity import host_update

    classes = {"strategy_class": DeepspeedStrategy, "trainer_class": ActorPPOTrainer}
    out = {}
    trainer = host_update.build_trainer(Case(mode="token-mean", micro=1, zero=2), **classes)
    for sample in host_update.experiences(Case()):
        trainer.replay_buffer.append(sample)
    try:
        trainer.ppo_train(0.0)
    except ZeroDivisionError:
        out["empty"] = "ZeroDivisionError"
    norms = []
    for dynamic in (False, True):
        case = Case(mode="token-mean", micro=4, zero=2, dynamic=dynamic)
        trainer = host_update.build_trainer(case, **classes)
        for sample in host_update.experiences(case):
            trainer.replay_buffer.append(sample)
        norms.append(trainer.ppo_train(0.0)["actor_grad_norm"])
    return out | {"norms": norms}


def test_the_host_has_the_faults_that_are_mended():
    """Negative control: if the host mends them, our guards can go."""
    result = run_on_ranks(1, _stock_host, timeout=110)[0]
    assert result["empty"] == "ZeroDivisionError"
    plain, dynamic = result["norms"]
    assert abs(dynamic / plain - 1) > 0.1
