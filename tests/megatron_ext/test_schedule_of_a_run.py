"""The learning rate of a Megatron run: made for the steps that it takes, and the command line's after a resume."""

import pytest
from support.megatron.tiny import start, write_models
from support.megatron.trainer_setup import make_trainer, train
from support.whole_run import run, set_up

from deltal_openrlhf.parity import Case
from deltal_openrlhf.parity.spawn import run_on_ranks

pytestmark = pytest.mark.timeout(300)

LOSS = Case(micro=2, steps=2)  # rollouts of 16 responses, steps of 8
# (layout, --rollout.micro_batch_size, prompts): optimizer steps of one pass over the data.
RUNS = {
    "dp2": ({}, 2, 5, 3),  # the last four responses, two on each replica, are a step
    "tp2": ({"tensor": 2}, 2, 7, 4),
}


def updates(rank, folder):
    from deltal_openrlhf.host.planned_steps import planned_steps

    start(folder)
    found = {}
    for name, (layout, rollout_micro, prompts, _) in RUNS.items():
        trainer = make_trainer(folder, layout, LOSS)
        set_up(trainer.args, 2, rollout_micro=rollout_micro, episodes=1)
        replica = rank if not layout else 0
        planned = planned_steps(trainer.args, prompts, trainer.strategy.steps_of_rollout)
        found[name] = [planned, run(trainer, LOSS, prompts, replica)["taken"]]
    found["resumed"] = resumed(folder, {"tensor": 2})
    return found


def resumed(folder, layout):
    """Rates of the next step: of the run that was saved, after a load under the same flags, and under another --actor.adam.lr."""
    trainer = make_trainer(folder, layout, LOSS)
    train(trainer, LOSS)
    trainer.strategy.save_ckpt(trainer.actor.model, f"{folder}/saved", "global_step1", client_state={"global_step": 1})
    rates = [trainer.actor_scheduler.get_last_lr()[0]]
    for factor in (1, 0.5):
        again = make_trainer(folder, layout, LOSS, rate=1e-3 * factor)
        again.args.deltal.resumed = "global_step1"
        again.strategy.load_ckpt(again.actor.model, f"{folder}/saved")
        rates.append(again.actor_scheduler.get_last_lr()[0])
        train(again, LOSS)
        rates.append([again.rates[0], again.engine.optimizer.param_groups[0]["lr"]])
    return rates


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schedule")
    write_models(folder, "llama")
    return run_on_ranks(2, updates, str(folder), timeout=280)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_takes_the_steps_that_were_planned(outcomes, name):
    for rank in outcomes:
        assert rank[name] == [RUNS[name][-1]] * 2


def test_a_resumed_run_has_the_rate_of_the_command_line(outcomes):
    for rank in outcomes:
        saved, same, [first, _], other, [first_of_other, last_of_other] = rank["resumed"]
        assert saved == same == first == pytest.approx(0.8e-3)  # two of ten steps of a linear schedule
        assert other == first_of_other == pytest.approx(0.4e-3)
        assert last_of_other == pytest.approx(0.35e-3)  # of the last step taken
