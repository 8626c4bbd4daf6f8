"""The update of a model that reads images is the one of brute force, in both of its towers."""

import pytest
from support import image_updates

from deltal_openrlhf.models.tiny_vision import write_tiny_vision_model
from deltal_openrlhf.parity import TOLERANCE, Case, RankPool

CASES = [Case(micro=2), Case(micro=4, zero=3, mode="token-mean")]


@pytest.mark.timeout(180)
def test_update_of_both_towers(tmp_path):
    write_tiny_vision_model(tmp_path)
    with RankPool(1) as pool:
        found = pool.call(image_updates.errors, str(tmp_path), CASES, timeout=120)[0]
        assert max(found) <= TOLERANCE
        wrong = [Case(micro=2, wrong="micro-batch")]
        assert pool.call(image_updates.errors, str(tmp_path), wrong, timeout=60)[0][0] > 100 * TOLERANCE
        # One response of sixteen gets another image than its own.
        assert pool.call(image_updates.errors, str(tmp_path), CASES[:1], True, timeout=60)[0][0] > 100 * TOLERANCE
