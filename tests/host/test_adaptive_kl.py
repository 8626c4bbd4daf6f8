"""In the host's own loops (support/controllers.py): an adaptive KL coefficient goes on after a kill, and the schedule fits the run."""

import random

import pytest
from support import controllers, killable
from support.controllers import Disk, arguments, run

from deltal_openrlhf.host import controller

PROMPTS, STEPS = 32, 8
KINDS = {"sync": (), "async": ("--train.async_enable",)}
ADAPTIVE = "--algo.kl.target 6 --algo.kl.horizon 100 --algo.kl.init_coef 0.5".split()


@pytest.fixture
def train(monkeypatch):
    """train(disk, kind, ...): the coefficients that the steps of one process group were trained with, the KL being what they make of it."""
    fit, used = killable.Workers.fit, []

    def measured(self, kl_ctl):
        used.append(kl_ctl)
        return fit(self, kl_ctl) | {"kl": 9 - kl_ctl + self.world.weights}

    monkeypatch.setattr(killable.Workers, "fit", measured)

    def trained(disk, kind, **world):
        used.clear()
        ended = run(disk, *KINDS[kind], *ADAPTIVE, prompts=PROMPTS, order=random.Random(1), **world)
        assert ended == ("moments" not in world)
        return list(used)

    return trained


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_goes_on_with_the_coefficients_of_one_that_was_not(train, kind):
    whole = train(Disk(), kind)
    assert len(set(whole)) == len(whole) == STEPS and whole[0] == 0.5
    resumed = []
    for moments in (40, 60, 90):
        disk = Disk()
        first = train(disk, kind, moments=moments)
        assert first == whole[: len(first)] and disk.latest
        rest = train(disk, kind)
        assert rest == whole[-len(rest) :]
        resumed.append(len(rest))
    assert len(set(resumed)) > 1 and max(resumed) < STEPS


def test_the_host_begins_anew(train):
    disk = Disk()
    train(disk, "sync", moments=90, stock=True)
    assert train(disk, "sync", stock=True)[0] == 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_the_schedule_is_made_for_the_steps_that_the_strategy_counts(kind):
    args = arguments(*KINDS[kind], "--train.num_episodes", "3", "--train.max_epochs", "2")
    world = killable.World(Disk(), random.Random(0))
    strategy = controllers.strategy(args)
    strategy.steps_of_rollout = lambda responses: -(-responses // 8)
    with controllers.simulated(world, prompts=9):  # rollouts of 8, 8 and 2 responses
        if kind == "sync":
            made = controller.DeltaLController("none", strategy, None, None, None, None, [], max_len=64)
        else:
            queues = dict.fromkeys(("vllm_lock", "rollout_queue", "rollout_slots"))
            made = controller.DeltaLGenerateSamplesActor("none", strategy, [], **queues, max_len=64)
    assert made.get_max_steps() == 3 * 3 * 2  # the host's own number: 9 * 2 // 8 * 3 * 2 = 12
