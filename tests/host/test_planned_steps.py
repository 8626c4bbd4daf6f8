"""The number of optimizer steps that the schedule is made for is the number that a run takes, rollout by rollout."""

from types import SimpleNamespace

import pytest
from support.host_arguments import host_arguments
from support.whole_run import ROLLOUT, SCHEDULE, run, set_up

from deltal_openrlhf.host.planned_steps import planned_steps, steps_without_the_actor
from deltal_openrlhf.parity import Case
from deltal_openrlhf.parity.spawn import RankPool

RATE = 1e-3
# (ranks, responses in a micro batch, --rollout.micro_batch_size, prompts, dynamic batches): optimizer steps of one pass over the data.
# Rollouts have 16 responses, steps 8.
RUNS = {
    (1, 4, 4, 5, False): 3,  # the last four responses are half a step
    (1, 4, 4, 8, False): 4,
    (2, 2, 2, 5, False): 3,
    (2, 4, 2, 5, False): 2,  # each rank has two of the last four, which are no micro batch
    (2, 2, 4, 7, False): 4,  # eight of the last twelve on one rank, four on the other
    (2, 4, 2, 7, True): 3,  # the last twelve are one step of eight
    (1, 4, 4, 5, True): 2,
}


def updates(rank, world, micro, rollout_micro, prompts, dynamic):
    from deltal_openrlhf.parity import host_update

    case = Case(world=world, micro=micro, steps=2, epochs=2, adamw=True, dynamic=dynamic)
    planned = []

    class Strategy(host_update.ParityStrategy):
        def prepare(self, given):
            set_up(self.args, world, rollout_micro=rollout_micro)
            planned.append(planned_steps(self.args, prompts, self.steps_of_rollout))
            model, config = given
            return super().prepare((model, config | SCHEDULE | {"scheduler_steps": planned[0]}))

    trainer = host_update.build_trainer(case, strategy_class=Strategy)
    return run(trainer, case, prompts, rank) | {"planned": planned[0]}


@pytest.fixture(scope="module")
def outcomes():
    found = {}
    for world in (1, 2):
        with RankPool(world) as pool:
            for settings in RUNS:
                if settings[0] == world:
                    found[settings] = pool.call(updates, *settings, timeout=280)
    return found


@pytest.mark.parametrize("settings", RUNS, ids=str)
def test_a_run_takes_the_steps_that_were_planned_and_ends_at_the_least_rate(outcomes, settings):
    for found in outcomes[settings]:
        assert found["taken"] == found["planned"] == RUNS[settings] * 2 * 2  # two epochs, two episodes
        assert found["rates"][-1] == pytest.approx(0.1 * RATE, rel=1e-9)
        assert found["rates"][1:] == sorted(found["rates"][1:], reverse=True)


def test_the_hosts_own_number_is_another():
    """With it the rate of the first run would rise again."""
    prompts, responses, step, passes = 5, 4, 8, 2 * 2
    assert (prompts * responses // step * passes, RUNS[1, 4, 4, 5, False] * passes) == (8, 12)


def per_step_of_8(responses):
    return -(-responses // 8)


@pytest.mark.parametrize(
    ("generated", "prompts", "steps"),
    # Rollouts of 4 prompts are 2 steps. With 3 at a time they have 3 (12 responses, 2 steps), with 6 they still have 4.
    [(None, 9, 5), (3, 9, 6), (6, 9, 5), (3, 4, 3)],
)
def test_prompts_that_are_generated_at_a_time_bound_a_rollout(generated, prompts, steps):
    args = SimpleNamespace(
        rollout=SimpleNamespace(batch_size=ROLLOUT, n_samples_per_prompt=4, vllm_generate_batch_size=generated),
        train=SimpleNamespace(max_epochs=1, num_episodes=1),
    )
    assert planned_steps(args, prompts, per_step_of_8) == steps


def test_rollouts_in_which_only_the_critic_learns_take_no_step_of_the_actor():
    frozen = (
        "--rollout.batch_size 4 --rollout.n_samples_per_prompt 4 --critic.freezing_steps 2 --train.max_epochs 3".split()
    )
    args = host_arguments(*frozen)
    assert steps_without_the_actor(args, per_step_of_8) == 3 * 2 * 3  # steps 0, 1 and 2
    args = host_arguments(*frozen, "--algo.advantage.estimator", "group_norm")
    assert steps_without_the_actor(args, per_step_of_8) == 0
    args = host_arguments("--rollout.batch_size", "4", "--rollout.n_samples_per_prompt", "4")
    assert steps_without_the_actor(args, per_step_of_8) == 0
