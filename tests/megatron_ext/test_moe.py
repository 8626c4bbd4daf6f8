"""The auxiliary loss of experts, in the gradient, against its definition on transformers: per micro batch and layer, over real tokens."""

import pytest
from support.megatron.moe_runs import ON_FOUR, ON_TWO, four_ranks, two_ranks
from support.megatron.tiny import write_models

from deltal_openrlhf.parity.spawn import run_on_ranks

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moe")
    write_models(folder, "moe")
    return str(folder)


@pytest.fixture(scope="module")
def results(folder):
    return run_on_ranks(2, two_ranks, folder, timeout=200)


@pytest.fixture(scope="module")
def on_four(folder):
    return run_on_ranks(4, four_ranks, folder, timeout=200)


@pytest.mark.parametrize("name", ON_TWO)
def test_gradient_is_that_of_both_losses(results, name):
    for rank in results:
        plain, with_empty_micro_batches = rank[name]
        assert plain < 1e-5
        assert with_empty_micro_batches < 1e-5


@pytest.mark.parametrize("name", ON_FOUR)
def test_gradient_under_sequence_parallelism_on_all_stages(on_four, name):
    for rank in on_four:
        assert rank[name] < 1e-5


def test_ranks_with_other_numbers_of_micro_batches_share_experts(results):
    assert [number for number, _ in (rank["log_probs"] for rank in results)] == [3, 2]
    assert all(far < 1e-5 for _, far in (rank["log_probs"] for rank in results))


def test_a_wrong_auxiliary_loss_would_be_noticed(results):
    for rank in results:
        controls = rank["controls"]
        assert controls["none"] > 1e-2 and controls["twice"] > 1e-2 and controls["padding counted"] > 1e-3
        assert controls["0 / 0"] == "nan"


@pytest.mark.parametrize("number", [0, 1], ids=["dp2", "ep2"])
def test_empty_micro_batches_of_a_short_rollout_add_nothing(results, number):
    for rank in results:
        empty, apart, without = rank["short"][number]
        assert empty > 0 and apart < 1e-6
        assert without > 1e-4
