"""The learning rate of every update against the one that DeepSpeed's engine really uses, under the same flags."""

from types import SimpleNamespace

import pytest

from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.parity import Case, run_on_ranks

NUM_STEPS, RATE = 8, 1e-3
KINDS = {
    "constant": ("constant", 0.0, 0.1),
    "linear": ("linear", 0.25, 0.1),
    "warm-up": ("constant_with_warmup", 0.3, 0.1),
    "cosine": ("cosine", 0.0, 0.1),
    "cosine_with_min_lr": ("cosine_with_min_lr", 0.03, 0.1),
    "cosine_with_min_lr, long warm-up": ("cosine_with_min_lr", 0.5, 0.3),
}


def deepspeed_rates(rank, kinds):
    """{kind: [rate of each update, rate after the last]} of eight optimizer steps of the DeepSpeed trainer."""
    from deltal_openrlhf.parity import host_update

    case, found = Case(micro=2, steps=NUM_STEPS, adamw=True), {}
    for kind, flags in kinds.items():
        settings = dict(zip(("lr_scheduler", "lr_warmup_ratio", "min_lr_ratio"), flags, strict=True))

        class Strategy(host_update.ParityStrategy):
            def prepare(self, given, settings=settings):
                model, config = given
                return super().prepare((model, config | settings | {"scheduler_steps": NUM_STEPS}))

        trainer = host_update.build_trainer(case, strategy_class=Strategy)
        used, engine = [], trainer.actor.model
        step = engine.optimizer.step

        def recorded(*args, step=step, used=used, groups=engine.basic_optimizer.param_groups, **kwargs):
            used.append(groups[0]["lr"])
            assert all(group["lr"] == used[-1] for group in groups)
            return step(*args, **kwargs)

        for sample in host_update.experiences(case):
            trainer.replay_buffer.append(sample)
        with rebound(engine.optimizer, "step", recorded):
            trainer.ppo_train(0.0)
        found[kind] = [used, trainer.actor_scheduler.get_last_lr()[0]]
    return found


@pytest.fixture(scope="module")
def wanted():
    return run_on_ranks(1, deepspeed_rates, KINDS, timeout=100)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_update_has_the_rate_of_a_deepspeed_run(wanted, kind):
    from deltal_openrlhf.host.schedule import learning_rate_schedule

    name, warm_up, least = KINDS[kind]
    actor = SimpleNamespace(
        lr_scheduler=name, lr_warmup_ratio=warm_up, min_lr_ratio=least, adam=SimpleNamespace(lr=RATE)
    )
    schedule, rates = learning_rate_schedule(actor, NUM_STEPS), []
    for _ in range(NUM_STEPS):
        rates.append(schedule.get_last_lr()[0])
        schedule.optimizer.step()
        schedule.step()
    used, after = wanted[kind]
    assert rates == pytest.approx(used, rel=1e-12, abs=0)
    assert schedule.get_last_lr()[0] == pytest.approx(after, rel=1e-12, abs=1e-18)
    assert len(used) == NUM_STEPS and (used[0] == 0) == (warm_up > 0)
    assert (len(set(used)) == 1) == (kind == "constant")


def test_a_schedule_that_is_restored_goes_on():
    from deltal_openrlhf.host.schedule import learning_rate_schedule

    adam = SimpleNamespace(lr=RATE)
    actor = SimpleNamespace(lr_scheduler="cosine_with_min_lr", lr_warmup_ratio=0.25, min_lr_ratio=0.1, adam=adam)
    schedules = [learning_rate_schedule(actor, NUM_STEPS) for _ in range(2)]
    for number in range(NUM_STEPS):
        if number == 3:
            schedules[1].load_state_dict(schedules[0].state_dict())
        for schedule in schedules[: 1 if number < 3 else 2]:
            schedule.optimizer.step()
            schedule.step()
    assert schedules[0].get_last_lr() == schedules[1].get_last_lr()
