"""What a run that ends leaves of its steps, in words and as an exit status. tests/train/test_signals.py has it said through Ray."""

import pytest

from deltal_openrlhf.host.kept_steps import Steps
from deltal_openrlhf.train.signals import exit_status


@pytest.mark.parametrize(
    ("begun", "finished", "saved", "code", "text"),
    [
        (0, 0, 0, 143, "no step was finished, so nothing was saved"),
        (6, 6, 6, 143, "no step was finished, so nothing was saved; the last checkpoint is of step 6"),
        (0, 9, 0, 1, "step 9 was the last; no checkpoint was saved"),
        (6, 9, 6, 1, "step 9 was the last; no checkpoint was saved since step 6"),
        (6, 9, 8, 143, "step 9 was the last; the last checkpoint is of step 8"),
        (6, 9, 9, 143, "step 9 was the last, and is saved"),
    ],
)
def test_a_run_is_started_again_where_that_gets_further(begun, finished, saved, code, text):
    steps = Steps(begun, finished, saved)
    assert (exit_status(steps), str(steps)) == (code, text)


def test_a_run_of_which_nobody_knows_anything_is_not_started_again():
    assert exit_status(None) == 1
