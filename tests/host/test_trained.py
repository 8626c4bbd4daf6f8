"""A run that trained nothing ends with the reason: the host's own loops (support/controllers.py), sync and async."""

import pytest
from support import controllers
from support.controllers import Disk, arguments, run

from deltal_openrlhf.host.trained import Trained

ASYNC = ("--train.async_enable",)


def nothing(prompt: str, seed: int) -> float:
    return 0.0


@pytest.mark.parametrize("mode", [(), ASYNC], ids=["sync", "async"])
def test_prompts_that_are_all_filtered_are_an_error(mode):
    flags = ["--algo.dynamic_filtering_enable", *mode]
    assert run(Disk(), *flags, prompts=8, score=nothing, stock=True)  # the host takes it for the end
    with pytest.raises(RuntimeError) as error:
        run(Disk(), *flags, prompts=8, score=nothing)
    assert str(error.value) == (
        "nothing was trained: dynamic filtering left no prompt; the mean score of every group is outside of "
        "--algo.dynamic_filtering_range, 0 to 1 (without these two)"
    )


def test_no_prompt_at_all_is_an_error():
    with pytest.raises(RuntimeError, match="^nothing was trained: --data.prompt_dataset none gave no prompt"):
        Trained().check(arguments())


@pytest.mark.parametrize(
    ("flags", "status", "says"),
    [
        (
            ["--deltal.overlong_filtering"],
            {"deltal/weight_sum_x_M": 0.0, "deltal/optimizer_steps": 0.0, "deltal/skipped_steps": 2.0},
            "all 4 optimizer steps were left out, because the length limit cut off every response",
        ),
        (
            [],
            {"deltal/weight_sum_x_M": 0.0, "deltal/optimizer_steps": 0.0},
            "none of 2 rollouts fills an optimizer step of --train.batch_size 8 responses",
        ),
        (["--critic.freezing_steps", "1"], {}, "--critic.freezing_steps is 1, and the run has 2 PPO steps"),
    ],
)
def test_steps_without_an_update_are_an_error(flags, status, says, monkeypatch):
    monkeypatch.setattr(controllers.Workers, "fit", lambda self, kl_ctl: status)
    with pytest.raises(RuntimeError, match=f"^nothing was trained: {says}$"):
        run(Disk(), *flags, prompts=8)


def test_one_update_is_enough_and_a_resumed_run_may_have_nothing_left():
    disk = Disk()
    assert run(disk, prompts=8)
    assert run(disk, prompts=8)
    assert sorted(disk.trained()) == sorted(f"p{i}" for i in range(8))
