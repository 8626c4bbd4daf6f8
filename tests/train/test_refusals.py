"""What `deltal train` refuses before Ray starts, in a dry run or a real start: all runs in one process, from a folder without data."""

import pytest
from support.launches import ROOT, launch_all, lines
from support.recipe_settings import config

from deltal_openrlhf.train.checks import STEPS_ALONE

REWARD = ROOT / "deltal_openrlhf" / "rewards" / "math_reward.py"
SMALL = "--actor.num_gpus_per_node 1 --vllm.num_engines 1".split()
NO_ENGINE = """--reward.remote_url http://127.0.0.1:1/ --train.dynamic_batch_enable --train.max_tokens_per_gpu 9000 --vllm.num_engines 0
    --rollout.batch_size 64 --rollout.n_samples_per_prompt 4 --train.batch_size 128""".split()
FROM_HUB = ["--data.prompt_dataset", "hub/set", "--eval.dataset", "hub/set", "--reward.remote_url", str(REWARD)]
MATH = config("math-deltal")
EIGHT_NODES = "--actor.num_nodes 8 --vllm.num_engines 64".split()
BAD_NUMBERS = {
    "--rollout.max_new_tokens 9216": "allowed is 1 to 9215, less than --data.max_len",
    "--rollout.max_new_tokens 0": "allowed is 1 to 9215",
    "--reward.overlong_buffer_len 8193": "allowed is more than 0 and up to 8192, the longest response",
    "--rollout.temperature 0": "allowed is more than 0",
    "--rollout.top_p 1.1": "allowed is more than 0 and up to 1",
    "--rollout.top_p nan": "allowed is more than 0 and up to 1",
    "--train.num_episodes 0": "allowed is 1 or more",
    "--actor.dual_clip 1": "allowed is more than 1",
    "--actor.adam.lr inf": "allowed is 0 or more, and finite",
    "--actor.adam.lr -1": "allowed is 0 or more, and finite",
    "--actor.lr_scheduler cosin": "allowed is linear, cosine, ",
    "--actor.lr_scheduler warmup_stable_decay": "allowed is linear, cosine, ",
    "--ds.zero_stage 4": "allowed is 0, 1, 2 and 3",
    "--vllm.gpu_memory_utilization 1.5": "allowed is more than 0 and up to 1",
}
RUNS = {
    "other loss": [*MATH, "--dry-run", "--loss_agg", "token-mean"],
    "one engine too few": [*MATH, "--dry-run", "--vllm.num_engines", "3"],
    "three GPUs": [*MATH, "--dry-run", "--actor.num_gpus_per_node", "3", "--vllm.num_engines", "3"],
    "ring attention on a CPU": [*MATH, *SMALL, *FROM_HUB, "--ds.ring_attn_size", "2"],
    "deepcompile on a CPU": [*MATH, *SMALL, *FROM_HUB, "--ds.deepcompile"],
    "refused by the host": [*MATH, "--dry-run", "--train.partial_rollout_enable"],
    "refused by the host in a real start": [*MATH, *SMALL, *FROM_HUB, "--train.partial_rollout_enable"],
    "real start without data": [*config("countdown-deltal"), *SMALL],
    "no engine": ["--dry-run", *NO_ENGINE],
    "no file": ["--config", "none.yaml", "--dry-run"],
    "7b after 2 nodes": [*config("math-deltal", "overlays/2nodes", "overlays/7b"), "--dry-run"],
    "8 nodes": [*config("math-deltal", "overlays/2nodes"), "--dry-run", *EIGHT_NODES],
    "unknown flag": [*MATH, "--dry-run", "--actor.adam.lrr", "1"],
    "8 nodes, micro batches of 1": [
        *config("math-deltal", "overlays/2nodes"),
        *("--dry-run", "--train.micro_batch_size", "1", "--rollout.micro_batch_size", "1", *EIGHT_NODES),
    ],
}
RUNS |= {flags: [*MATH, "--dry-run", *flags.split()] for flags in BAD_NUMBERS}


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> dict[str, tuple]:
    """name -> (exit status, stdout, stderr) of every run."""
    return launch_all(RUNS, tmp_path_factory.mktemp("empty"))


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (
            "other loss",
            "--alpha is 0.75, but --loss_agg is token-mean; it is allowed with --loss_agg deltal only (set in ",
        ),
        ("other loss", "math-deltal.yaml:7; `alpha: null` in a later --config file takes it back)"),
        ("7b after 2 nodes", "--actor.num_nodes x --actor.num_gpus_per_node is 16, --vllm.num_engines x"),
        ("8 nodes", "--train.batch_size is 320, which is no multiple of ranks x --train.micro_batch_size, 128"),
        *[(flags, f"error: {flags.split()[0]} is ") for flags in BAD_NUMBERS],
        *BAD_NUMBERS.items(),
        (
            "one engine too few",
            "--vllm.num_engines x --vllm.tensor_parallel_size is 3; with --train.colocate_all they share the GPUs",
        ),
        ("three GPUs", "--train.batch_size is 320, which is no multiple of ranks x --train.micro_batch_size, 6"),
        (
            "refused by the host",
            "OpenRLHF refuses these flags: --train.partial_rollout_enable requires --train.async_enable.",
        ),
        (
            "refused by the host in a real start",
            "OpenRLHF refuses these flags: --train.partial_rollout_enable requires",
        ),
        (
            "real start without data",
            "--data.prompt_dataset: not there: data/countdown/train.jsonl; make such files with deltal data",
        ),
        ("no engine", "--vllm.num_engines is 0; responses come from vLLM only, so allowed is 1 or more"),
        pytest.param("ring attention on a CPU", "is 2; without a GPU only 1 is allowed", marks=pytest.mark.cpu_build),
        pytest.param("deepcompile on a CPU", "is True; without a GPU only False is", marks=pytest.mark.cpu_build),
        ("no file", "error: none.yaml: No such file or directory"),
        ("unknown flag", "unrecognized arguments: --actor.adam.lrr 1"),
    ],
)
def test_what_does_not_fit_ends_with_status_2_and_one_line(run, says, real):
    code, _, err = real[run]
    assert code == 2
    assert says in err
    assert err.count("\n") == 1
    assert err.startswith("deltal train: ")


def test_8_nodes_need_micro_batches_of_1(real):
    code, out, _ = real["8 nodes, micro batches of 1"]
    assert code == 0
    assert "micro batches per optimizer step and rank 5 64 ranks, 5 responses each" in lines(out)


def test_the_allowed_schedulers_are_those_of_transformers_that_step_with_what_the_host_gives_them():
    import torch
    from transformers import get_scheduler
    from transformers.trainer_utils import SchedulerType

    def steps(name: str) -> bool:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
        least = {"min_lr_rate": 0.1} if name.endswith("with_min_lr") else {}
        try:
            scheduler = get_scheduler(name, optimizer, 1, 10, scheduler_specific_kwargs=least)
            optimizer.step()
            scheduler.step()
        except TypeError:
            return False
        return True

    assert {kind.value for kind in SchedulerType if steps(kind.value)} == set(STEPS_ALONE)
