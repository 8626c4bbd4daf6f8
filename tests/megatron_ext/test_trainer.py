"""The trainer on two ranks: what must never reach the parameters, what is trained on, what is reported and what vLLM gets."""

import math

import pytest
import torch
from support.megatron.tiny import write_models
from support.megatron.trainer_runs import EPOCHS, LAYOUTS, MEANS, one_rank, two_ranks
from support.megatron.trainer_setup import HELD
from support.step_means import check
from transformers import AutoModelForCausalLM

from deltal_openrlhf.parity.spawn import run_on_ranks

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trainer")
    write_models(folder, "llama", "tied")
    return str(folder)


@pytest.fixture(scope="module")
def results(folder):
    return run_on_ranks(2, two_ranks, folder, timeout=240)


@pytest.fixture(scope="module")
def on_one(folder):
    return run_on_ranks(1, one_rank, folder, timeout=100)[0]


@pytest.mark.parametrize("layout,guilty", [("tp2", 0), ("pp2", 1), ("dp2", 1)])
def test_a_loss_that_is_not_finite_stops_all_ranks_before_the_update(results, layout, guilty):
    (message, *_), _ = (rank[layout]["bad loss"] for rank in results)
    assert message.startswith(f"the loss is nan on rank {guilty}, micro batch ")
    assert "the parameters are unchanged" in message and "'prompt 1'" in message.split("prompts")[1]
    for rank in results:
        assert rank[layout]["bad loss"] == [message, 0.0, 0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_gradient_norm_that_is_not_finite_stops_all_ranks_before_the_update(results, layout):
    for number, rank in enumerate(results):
        for message, moved in rank[layout]["bad gradient"]:
            assert message.startswith(f"the gradient norm is inf or nan on rank {number} in optimizer step 2; stopped")
            assert moved == 0.0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_step_with_nothing_left_moves_the_schedule_only(results, layout):
    for rank in results:
        found = rank[layout]["nothing left"]
        assert found["moved"] == 0.0 and found["moved_next"] > 1e-4
        assert found["rates"][1] < found["rates"][0]
        assert found["status"]["deltal/skipped_steps"] == 1.0
        assert found["status"]["deltal/optimizer_steps"] == 0.0
        assert all(math.isfinite(value) for value in found["status"].values())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_epoch_has_its_own_order_that_a_resumed_run_goes_on_with(results, layout):
    for rank, found in enumerate(result[layout]["epochs"] for result in results):
        steps, share = found["own"], list(range(rank, 16, 2)) if layout == "dp2" else list(range(16))
        per_epoch, per_step = EPOCHS.steps, len(share) // EPOCHS.steps
        assert len(steps) == 2 * EPOCHS.epochs * EPOCHS.steps and {len(step) for step in steps} == {per_step}
        orders = [sum(steps[i : i + per_epoch], []) for i in range(0, len(steps), per_epoch)]
        assert all(sorted(order) == share for order in orders)
        assert len({tuple(order) for order in orders}) == 4
        assert found["resumed"] == steps[4:]
        assert found["other"] != steps[:4]
        assert found["apart"] < 1e-6
    if layout != "dp2":
        assert results[0][layout]["epochs"] == results[1][layout]["epochs"]


@pytest.mark.parametrize("number", [0, 1], ids=["by number", "by tokens"])
def test_a_short_rollout_leaves_no_response_out(results, number):
    for rank in results:
        found = rank["short"][number]
        steps = found["steps"]
        assert sorted(sum(steps, [])) == sorted([*HELD[0], *HELD[1]])
        assert sorted(map(len, steps)) == [1, 7]  # four and three, and the one that rank 0 has over
        assert found["apart"] < 1e-6 and found["moved"] > 1e-4
        assert found["status"]["deltal/optimizer_steps"] == 2.0
        assert all(math.isfinite(value) for value in found["status"].values())


def test_an_empty_micro_batch_fills_up_the_interleaved_schedule(results):
    for rank in results:
        sizes, apart = rank["odd number"]
        assert sizes == [6, 6, 4, 0]
        assert apart < 1e-6


def test_a_rank_without_any_response_stops_all(results):
    assert all("without any response" in rank["no response"] for rank in results)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_host_gets_what_the_deepspeed_trainer_reports(results, on_one, layout):
    for rank in results:
        wanted = rank["deepspeed"] if layout == "dp2" else on_one
        for got, reported in zip(rank[layout]["statuses"], wanted, strict=True):
            assert got.keys() == reported.keys()
            assert {"policy_loss", "ppo_kl", "vllm_kl", "is_filter_ratio", "kl", "entropy_loss"} < got.keys()
            assert {"actor_lr", "actor_grad_norm", "ppo_clip_ratio", "deltal/ess", "deltal/clip_share"} < got.keys()
            far = {name: (got[name], reported[name]) for name in got if abs(got[name] - reported[name]) > 1e-4}
            assert not far
        assert rank[layout]["statuses"][0] != rank[layout]["statuses"][1]  # the numbers move with the updates


def test_the_means_do_not_depend_on_the_cut(results, folder):
    model = AutoModelForCausalLM.from_pretrained(f"{folder}/llama", dtype=torch.float32)
    for rank in results:
        status, steps, micro_batches = rank["by tokens"]
        assert micro_batches > 2
        check(MEANS, status, steps, model)


@pytest.mark.parametrize("case", ["tp2 llama", "pp2 llama", "pp2 tied", "dp2 llama"])
def test_vllm_gets_the_whole_model_in_one_broadcast(results, case):
    first, second = found = results[0]["sent"][case]
    assert all(sync["same"] for sync in found)
    assert first["told"] == second["told"] and len(first["told"]) > 30
    assert ("lm_head.weight" in [name for name, _, _ in first["told"]]) == ("tied" not in case)
    assert first["last"] == [False] * (len(first["told"]) - 1) + [True]
    assert all((sync["resets"], sync["emptied"]) == (1, 2) for sync in found)
    assert all(sync["most_held"] <= 3 for sync in found)  # queries, keys and values are one tensor in Megatron-Core
    assert all(sync["told"] == [] for sync in results[1]["sent"][case])


def test_parameters_that_the_host_leaves_out_stop_the_run(results):
    assert all("left out parameters: the host changed" in rank["left out"] for rank in results)
