"""What the driver sends along with responses: whatever batches they are in, and refused where it would be a guess."""

import pytest
import torch
from openrlhf.trainer.ppo_utils.experience import Experience

from deltal_openrlhf.aggregation import Aggregation
from deltal_openrlhf.host.scope_means import SCOPE_MEAN_KEY, attach_scope_means
from deltal_openrlhf.host.settings import LossSettings

LENGTHS, SIGNS, GROUP = [3, 1, 4, 0, 2, 5], [1.0, -1.0, 1.0, -1.0, 0.0, -1.0], 3


def settings(mode):
    return LossSettings(mode=mode, alpha=None, scope=None, max_length=5, overlong_filtering=False)


def batch(numbers):
    mask = torch.arange(5) < torch.tensor([LENGTHS[number] for number in numbers])[:, None]
    signs = torch.tensor([SIGNS[number] for number in numbers])[:, None]
    return Experience(
        index=numbers,
        prompts=[f"prompt {number // GROUP}" for number in numbers],
        action_mask=mask,
        advantages=signs * mask * 0.5,
        info={},
    )


@pytest.mark.parametrize("mode", ["prompt-mean", "balanced"])
def test_each_response_gets_its_own_in_any_order(mode):
    batches = [batch([4, 0]), batch([3]), batch([5, 2, 1])]
    attach_scope_means(batches, settings(mode), GROUP)
    wanted = Aggregation(mode).scope_means(torch.tensor(LENGTHS), [0, 0, 0, 1, 1, 1], SIGNS)
    for made in batches:
        assert made.info[SCOPE_MEAN_KEY].tolist() == pytest.approx([wanted[number].item() for number in made.index])
    # By hand: two prompts, 5 valid responses; prompt 1 has 7 tokens, its response 5 is the only one of its sign, one of two.
    of_five = batches[2].info[SCOPE_MEAN_KEY][0].item()
    assert of_five == pytest.approx(2 * 7 / 5 if mode == "prompt-mean" else 2 * 2 * 5 / 5)


def test_a_mode_of_the_step_alone_needs_none():
    made = batch([0, 1])
    attach_scope_means([made], settings("token-mean"), GROUP)
    assert made.info == {}


def test_what_is_refused():
    moved = batch([0, 1, 2])
    moved.prompts[1] = "prompt 1"
    with pytest.raises(RuntimeError, match="the responses to a prompt are not together"):
        attach_scope_means([moved, batch([3, 4, 5])], settings("prompt-mean"), GROUP)
    mixed = batch([0, 1, 2])
    mixed.advantages[2, 1] = -0.5
    attach_scope_means([mixed, batch([3, 4, 5])], settings("prompt-mean"), GROUP)  # which has no use for signs
    with pytest.raises(ValueError, match="advantages of different signs, or NaN; balanced needs one"):
        attach_scope_means([mixed, batch([3, 4, 5])], settings("balanced"), GROUP)
    mixed.advantages[2, 1], mixed.advantages[2, 4] = 0.5, -0.5  # behind its end
    attach_scope_means([mixed, batch([3, 4, 5])], settings("balanced"), GROUP)
