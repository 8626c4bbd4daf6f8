"""The real pipeline: Ray, vLLM, DeepSpeed, weight sync. Each run has a hard time limit and leaves nothing behind."""

import re

import pytest

pytestmark = [pytest.mark.timeout(400), pytest.mark.gpus(2)]
DELTAL = ("--loss_agg", "deltal", "--alpha", "0.75")


@pytest.mark.cpu_build
def test_after_disable_the_stock_command_says_its_own_error(start):
    with start(*DELTAL, module="openrlhf.cli.train_ppo_ray") as run:
        assert run.wait() == 2
        assert (
            "error: argument --actor.loss_agg_mode" in run.text()
            or "unrecognized arguments: --loss_agg deltal --alpha 0.75" in run.text()
        )
    with start(module="openrlhf.cli.train_ppo_ray") as run:
        assert run.wait() == 1
        assert "needs GPUs" in run.text()


def test_two_ranks_colocated_dynamic_zero3_then_a_worker_is_killed(start):
    flags = (
        "--train.colocate_all --ds.zero_stage 3 --train.dynamic_batch_enable --train.max_tokens_per_gpu 128 --vllm.num_engines 2 "
        "--algo.kl.init_coef 0.01 --algo.kl.use_loss --algo.kl.estimator k3 --deltal.scope group --deltal.overlong_filtering "
        "--train.num_episodes 50"
    ).split()
    with start(*DELTAL, *flags, ranks=2) as run:
        run.wait_for(lambda: len(run.metrics()) >= 2, "second step")
        for row in run.metrics():
            assert 0 < row["deltal/weight_sum_x_M"] < 3  # the scope group does not fix it to 1
            assert 0 < row["deltal/filtered_share"] < 1
            assert row["deltal/optimizer_steps"] == 2
            assert row["vllm_kl"] < 0.05 if "vllm_kl" in row else True
        # Ray's title is ray::DeltaLPolicyModelActor between two calls and ray::PolicyModelActor.METHOD in one.
        workers = [p for p in run.running() if "PolicyModelActor" in " ".join(p.cmdline())]
        assert len(workers) == 2
        workers[1].kill()
        assert run.wait() == 1
        last = run.text().splitlines()[-1]
        assert last.startswith("deltal train: stopped: ")
        # Ray's word comes first, or that of the other worker, which waits for this one.
        by_ray = rf"PolicyModelActor \(pid {workers[1].pid}, rank [01]\) died: "
        assert re.search(rf"{by_ray}|the process that PolicyModelActor\.\w+ exchanges tensors with died: ", last)
        assert str(run.out / "hf/logs/train.log") in last
        assert run.survivors() == []
