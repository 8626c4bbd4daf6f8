"""The prompts of every step, by the host's own loops (support/controllers.py): one seed gives one order, and a run that is killed at any
moment and resumed trains on every prompt once.
"""

import pickle
import random
from types import SimpleNamespace

import pytest
import torch
from openrlhf.trainer.ray import ppo_actor
from support.controllers import arguments, run
from support.killable import SAMPLES, Disk
from torchdata.stateful_dataloader import StatefulDataLoader

from deltal_openrlhf.host.data_order import PromptOrder, used_prompts
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.trainer import DeltaLActorTrainer
from deltal_openrlhf.statistics.seeds import seed_of

PROMPTS = 22  # five rollouts of 4 and one of 2
SYNC = ("--train.num_episodes", "2")
ASYNC = (*SYNC, "--train.async_enable", "--train.async_queue_size", "2")
OVERSAMPLING = (*ASYNC, "--rollout.vllm_generate_batch_size", "10")
FILTERING = ("--algo.dynamic_filtering_enable",)


def finish(disk: Disk, *flags: str, kills: int = 0, seed: int = 0, **world) -> set[int]:
    """Train to the end, killed at `kills` random moments first. Returns the steps from which it was resumed."""
    chance, resumed = random.Random(seed), []
    # Calls in which about two steps are done.
    within = 130 if "--rollout.vllm_generate_batch_size" in flags else 140 if "--train.async_enable" in flags else 50
    while True:
        moments = chance.randrange(1, within) if len(resumed) < kills else None
        if run(disk, *flags, prompts=PROMPTS, order=chance, moments=moments, **world):
            return set(resumed)
        resumed.append(pickle.loads(disk.latest)["states"]["global_step"] if disk.latest else 0)


def episodes(disk: Disk) -> list[list[str]]:
    trained = disk.trained()
    return [trained[:PROMPTS], trained[PROMPTS:]]


def every_prompt() -> list[str]:
    return sorted(f"p{i}" for i in range(PROMPTS))


@pytest.fixture(scope="module")
def uninterrupted() -> Disk:
    disk = Disk()
    finish(disk, *SYNC)
    return disk


# ── One seed, one order ──


def test_one_seed_gives_the_same_prompts_in_every_step_sync_and_async(uninterrupted):
    first, second = episodes(uninterrupted)
    assert sorted(first) == sorted(second) == every_prompt()
    assert first != second and first != every_prompt()
    for flags in (ASYNC, OVERSAMPLING):
        disk = Disk()
        finish(disk, *flags, seed=5)  # engines answer in another order
        assert disk.steps == uninterrupted.steps
    other = Disk()
    finish(other, *SYNC, "--train.seed", "7")
    assert other.steps != uninterrupted.steps and sorted(episodes(other)[0]) == every_prompt()


def test_the_host_itself_draws_another_order_in_every_run():
    runs = [Disk(), Disk()]
    for disk in runs:
        finish(disk, *SYNC, stock=True)
    assert runs[0].steps != runs[1].steps


# ── Killed and resumed ──


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("flags", [SYNC, ASYNC, OVERSAMPLING], ids=["sync", "async", "oversampling"])
def test_a_run_killed_at_random_moments_trains_on_every_prompt_once_with_the_same_prompts_in_each_step(
    uninterrupted, flags, seed
):
    disk = Disk()
    assert len(finish(disk, *flags, kills=10, seed=seed)) > 1
    assert disk.steps == uninterrupted.steps
    if flags == SYNC:  # async, which weights sampled a response depends on which half was faster
        assert disk.weights == pytest.approx(uninterrupted.weights, abs=1e-12)


@pytest.mark.parametrize("ahead", [(), ("--rollout.vllm_generate_batch_size", "10")], ids=["queue", "oversampling"])
def test_filtered_prompts_count_as_used_and_no_other_is_lost(ahead):
    # Of each response by its own chance: after a resume, what waited may be filtered that passed before.
    flags = (*ASYNC[2:], *ahead, *FILTERING, "--algo.dynamic_filtering_range", "0.3", "0.7")
    resumed = set()
    for moments in range(30, 150, 12):
        scores: dict[str, list[float]] = {}

        def score(prompt: str, seed: int, scores: dict = scores) -> float:
            value = seed_of(seed, prompt) % 1000 / 1000
            scores.setdefault(prompt, []).append(value)
            return value

        disk = Disk()
        if not run(disk, *flags, prompts=PROMPTS, score=score, moments=moments):
            resumed.add(max(disk.steps, default=0))
            finish(disk, *flags, score=score)
        trained = disk.trained()
        dropped = set(every_prompt()) - set(trained)
        assert dropped and 0 < len(trained) == len(set(trained))
        for prompt in dropped:
            assert not 0.3 < sum(scores[prompt][-SAMPLES:]) / SAMPLES < 0.7, prompt  # as it was drawn last
    assert len(resumed) > 1


def test_filtered_prompts_are_the_same_ones_after_a_resume():
    flags = (*SYNC, *FILTERING, "--algo.dynamic_filtering_range", "0.3", "0.7")
    whole, killed = Disk(), Disk()
    finish(whole, *flags)
    assert len(finish(killed, *flags, kills=10, seed=3)) > 3
    assert killed.steps == whole.steps and killed.weights == whole.weights
    assert 0 < len(whole.trained()) < 2 * PROMPTS


def test_the_host_itself_loses_what_was_generated_ahead_and_repeats_an_episode_with_a_short_end():
    lost = Disk()
    run(lost, *OVERSAMPLING[2:], prompts=PROMPTS, stock=True, moments=74)
    assert 0 < len(lost.steps) < 5
    run(lost, *OVERSAMPLING[2:], prompts=PROMPTS, stock=True)
    assert len(set(lost.trained())) < PROMPTS

    repeated = Disk()
    run(repeated, prompts=PROMPTS, stock=True)
    assert len(repeated.trained()) == PROMPTS
    run(repeated, prompts=PROMPTS, stock=True)
    assert len(repeated.trained()) == 2 * PROMPTS


def test_a_run_that_is_done_trains_nothing_more_and_its_count_of_prompts_is_right(uninterrupted):
    states = pickle.loads(uninterrupted.latest)["states"]
    assert states["total_consumed_prompts"] == 2 * PROMPTS
    before = dict(uninterrupted.steps)
    assert run(uninterrupted, *SYNC, prompts=PROMPTS)
    assert uninterrupted.steps == before


# ── The position ──


def order(seed: int = 1, rows: int = 9, workers: int = 0) -> PromptOrder:
    loader = StatefulDataLoader(list(range(rows)), batch_size=1, num_workers=workers, collate_fn=rows_as_they_are)
    return PromptOrder(loader, seed)


def rows_as_they_are(rows: list) -> list:
    return rows


@pytest.mark.parametrize("drawn", [0, 1, 8, 9])
def test_a_position_continues_the_episode_with_what_waited_first(drawn):
    whole = order()
    both = [[row for [row] in whole] for _ in range(2)]
    begun = order()
    draws = iter(begun)
    rows = [next(draws)[0] for _ in range(drawn)]
    assert [draw.place for draw in draws.take()] == list(range(drawn))
    begun.waiting = [0, 0, 2, 2] if drawn > 2 else []
    state = begun.state_dict()
    assert used_prompts(state) == drawn - len(set(begun.waiting))
    resumed = order(workers=2)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state  # saved again before anything is drawn
    draws = iter(resumed)
    waited = [both[0][place] for place in sorted(set(begun.waiting))]
    assert [row for [row] in draws] == [*waited, *both[0][drawn:]]
    assert rows == both[0][:drawn]
    assert used_prompts(resumed.state_dict()) == 9
    assert [row for [row] in resumed] == both[1]


def test_a_prompt_has_a_seed_of_its_own_in_each_episode():
    def seeds(order: PromptOrder) -> list[int]:
        draws = iter(order)
        list(draws)
        return [draw.seed for draw in draws.take()]

    one, other = order(), order(seed=2)
    assert len({*seeds(one), *seeds(one), *seeds(other)}) == 27
    assert seeds(order()) == seeds(order())


@pytest.mark.parametrize("other", [order(seed=2), order(rows=8)], ids=["seed", "rows"])
def test_a_position_in_another_order_is_refused(other):
    with pytest.raises(ValueError, match="belongs to another order of the prompts: --train.seed, the training data"):
        order().load_state_dict(other.state_dict())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_checkpoint_of_the_stock_host_continues_with_the_prompts_that_it_had_not_drawn(workers):
    rows = list(range(9))
    hosts = StatefulDataLoader(rows, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    batches = iter(hosts)
    drawn = [int(next(batches)) for _ in range(4)]
    resumed = order(workers=workers)
    resumed.load_state_dict({"episode": 3} | hosts.state_dict())
    assert resumed.state_dict()["episode"] == 3 and used_prompts(resumed.state_dict()) == 3 * 9 + 4
    left = [row for [row] in resumed]
    assert left == [int(row) for row in batches] and sorted(drawn + left) == rows
    # Finished with a short rollout: the host would begin the episode anew.
    resumed.load_state_dict({"episode": 3} | hosts.state_dict())
    assert list(resumed) == []
    assert [row for [row] in resumed] == [order().rows(4)[i] for i in range(9)]


# ── The order of the updates ──


def test_a_resumed_run_shuffles_its_responses_as_the_uninterrupted_one():
    def shuffled(steps_taken: int, seed: int = 3) -> list[int]:
        trainer = DeltaLActorTrainer.__new__(DeltaLActorTrainer)
        vars(trainer).update(
            strategy=SimpleNamespace(seed=seed),
            actor_scheduler=SimpleNamespace(last_epoch=steps_taken),
            args=arguments(),
            _weights=[],
            _correction_by_response=False,
        )
        with rebound(ppo_actor.ActorPPOTrainer, "ppo_train", lambda self, kl_ctl: {"order": torch.randperm(32)}):
            return trainer.ppo_train(0.0)["order"].tolist()

    torch.manual_seed(0)
    uninterrupted = [shuffled(steps) for steps in (0, 2, 4)]
    torch.manual_seed(1)
    assert shuffled(4) == uninterrupted[2]
    assert len({tuple(order) for order in (*uninterrupted, shuffled(4, seed=4))}) == 4
