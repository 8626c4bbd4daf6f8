"""The metrics under deltal/, by hand."""

import pytest
import torch

from deltal_openrlhf.host.metrics import StepStatistics, length_metrics


def test_lengths_of_a_rollout_batch():
    lengths = torch.tensor([0, 2, 4, 10])  # one empty response, which is not filtered
    trained = torch.tensor([0, 2, 4, 0])
    spread = torch.tensor([0.0, 8e-9, 0.5, 0.5])  # the second is what eight times 0.1 give in float32
    assert length_metrics(lengths, trained, spread) == {
        "deltal/response_length_mean": 4.0,
        "deltal/response_length_p50": 3.0,
        "deltal/response_length_p95": pytest.approx(9.1),  # 4 + 0.85 x 6
        "deltal/response_length_max": 10.0,
        "deltal/filtered_share": 0.25,
        "deltal/groups_without_signal": 0.5,
    }
    assert "deltal/groups_without_signal" not in length_metrics(lengths, trained, None)


def test_a_step_that_is_left_out_counts_and_has_no_weights():
    statistics = StepStatistics()
    assert set(statistics.summary().values()) == {0.0}
    statistics.add_weights(torch.tensor([0.25, 0.25, 0.5]), max_length=4.0)
    statistics.add_update(2.0, 1.0, skipped=False)
    statistics.add_weights(torch.zeros(3), max_length=4.0)
    statistics.add_update(0.5, 1.0, skipped=True)
    statistics.add_weights(torch.tensor([1.0]), max_length=4.0)
    statistics.add_update(None, 1.0, skipped=True)  # by loss scaling: there is no norm
    assert statistics.summary() == {
        "deltal/weight_sum_x_M": 4.0,
        "deltal/weight_sum_x_M_min": 4.0,
        "deltal/weight_sum_x_M_max": 4.0,
        "deltal/ess": (1 / 0.375 + 1) / 2,
        "deltal/grad_norm": 1.25,
        "deltal/clip_share": 0.5,
        "deltal/optimizer_steps": 1.0,
        "deltal/skipped_steps": 2.0,
    }


def test_without_clipping_nothing_counts_as_clipped():
    statistics = StepStatistics()
    statistics.add_update(2.0, 0.0, skipped=False)
    assert statistics.summary()["deltal/clip_share"] == 0.0
