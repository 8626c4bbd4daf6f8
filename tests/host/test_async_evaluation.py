"""`best` of asynchronous training, in the host's own two halves (support/controllers.py): the saved weights are those that were evaluated.

A response is worth the weights that its engine has, so an evaluation's metric says which weights it measured.
"""

from dataclasses import dataclass
from typing import Any

import pytest
from support import controllers

from deltal_openrlhf.host.rebind import rebound

STEPS = 6  # 22 prompts, four a step
FLAGS = ("--train.async_enable", "--eval.dataset", "none", "--eval.steps", "2")


@dataclass
class Weighing(controllers.World):
    def __post_init__(self) -> None:
        self.score = lambda prompt, seed: self.engine_weights


def best_checkpoints(*flags: str, stock: bool = False) -> dict[str, tuple]:
    """tag -> (step, metric, weights) of every best checkpoint that a run saved. Weights grow with each step, so each evaluation is best."""
    saved: dict[str, tuple] = {}

    def save(workers: controllers.Workers, tag: str, client_states: dict, metric_value: float | None, **_: Any) -> None:
        if tag.startswith("best"):
            saved[tag] = (client_states["global_step"], metric_value, workers.world.weights)

    with rebound(controllers, "World", Weighing), rebound(controllers.Workers, "save_checkpoint", save):
        assert controllers.run(controllers.Disk(), *FLAGS, *flags, prompts=22, stock=stock)
    return saved


@pytest.mark.parametrize("queue", ["1", "3"])
def test_the_best_checkpoint_holds_the_weights_of_its_metric_and_the_last_step_is_evaluated(queue):
    saved = best_checkpoints("--train.async_queue_size", queue)
    assert {tag: step for tag, (step, *_) in saved.items()} == {
        f"best_global_step{step}": step for step in (2, 4, STEPS)
    }
    for _, metric, weights in saved.values():
        assert metric == pytest.approx(weights, rel=1e-6)
    assert len({weights for *_, weights in saved.values()}) == 3


def test_the_hosts_own_halves_do_neither():
    saved = best_checkpoints(stock=True)
    assert f"best_global_step{STEPS}" not in saved
    assert saved["best_global_step2"][0] > 2
