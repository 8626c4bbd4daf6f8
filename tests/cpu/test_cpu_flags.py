"""What a CPU run changes outside of the code: flags, on the host's own parser, and the environment of Ray and its workers."""

import json
import os
import runpy
import sys

import pytest

from deltal_openrlhf import cpu
from deltal_openrlhf.cpu.environment import VARIABLES
from deltal_openrlhf.train import gpus

# ── Flags, on the host's own parser ──


@pytest.fixture(scope="module")
def parse():
    """flags -> the host's hierarchical arguments, as its command line builds them."""
    cpu.install()
    import openrlhf.utils.config

    class Parsed(Exception):
        pass

    def parse(*flags: str):
        hierarchize = openrlhf.utils.config.hierarchize

        def stop(flat):
            raise Parsed(hierarchize(flat))

        argv, sys.argv = sys.argv, ["train_ppo_ray", "--actor.num_gpus_per_node", "1", *flags]
        openrlhf.utils.config.hierarchize = stop
        try:
            runpy.run_module("openrlhf.cli.train_ppo_ray", run_name="__main__")
        except Parsed as parsed:
            return parsed.args[0]
        finally:
            sys.argv = argv
            openrlhf.utils.config.hierarchize = hierarchize

    return parse


REWARD = ("--reward.remote_url", "reward.py", "--algo.kl.init_coef", "0", "--algo.advantage.estimator", "group_norm")


def test_flags_are_set_and_said(parse):
    args = parse(*REWARD, "--vllm.enable_sleep", "--ds.enable_sleep")
    notes = cpu.adjust_flags(args)
    assert args.vllm.sync_backend == "gloo"
    assert args.vllm.enforce_eager is True
    assert args.vllm.enable_sleep is False
    assert args.ds.enable_sleep is False
    assert args.ds.attn_implementation == "sdpa"
    assert len(notes) == 5
    assert "--vllm.sync_backend gloo instead of nccl: there is no NCCL" in notes
    assert cpu.adjust_flags(args) == []


@pytest.mark.parametrize(
    "flags",
    [
        ("--vllm.tensor_parallel_size", "2"),
        ("--vllm.sync_with_ray",),
        ("--ds.tensor_parallel_size", "2"),
        ("--ds.ring_attn_size", "2"),
        ("--ds.load_in_4bit",),
        ("--ds.adam_offload",),
        ("--ds.deepcompile",),
        ("--ds.use_liger_kernel",),
        ("--ds.param_dtype", "fp16"),
    ],
    ids=lambda flags: flags[0],
)
def test_what_cannot_work_is_refused_by_name(parse, flags):
    with pytest.raises(ValueError) as error:
        cpu.adjust_flags(parse(*REWARD, *flags))
    assert str(error.value).startswith(flags[0] + " is ")
    assert "without a GPU only" in str(error.value)
    assert "\n" not in str(error.value)


def test_more_ranks_than_cores_are_refused_where_they_would_start(parse, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with pytest.raises(ValueError, match=r"--actor.num_gpus_per_node is 8 .*allowed are 1 to 2"):
        gpus.check_cores(parse(*REWARD, "--actor.num_gpus_per_node", "8"))
    # The host's default for the reference model is 8 as well, but without a KL coefficient there is none.
    gpus.check_cores(parse(*REWARD))
    with pytest.raises(ValueError, match="--ref.num_gpus_per_node is 8"):
        gpus.check_cores(parse(*REWARD, "--algo.kl.init_coef", "0.1"))


def test_logical_gpus_are_those_that_the_host_asks_for(parse):
    count = gpus.total
    assert count(parse(*REWARD, "--vllm.num_engines", "2")) == 3
    with_reference = (*REWARD, "--algo.kl.init_coef", "0.1", "--ref.num_gpus_per_node", "2")
    assert count(parse(*with_reference, "--vllm.num_engines", "1", "--actor.num_gpus_per_node", "2")) == 5
    # gae starts a critic, though the host has not named its model yet.
    assert count(parse(*REWARD, "--algo.advantage.estimator", "gae", "--critic.num_gpus_per_node", "2")) == 3
    agent = ("--train.agent_func_path", "agent.py", "--algo.kl.init_coef", "0", "--algo.advantage.estimator", "rloo")
    assert count(parse(*agent)) == 1


# ── Environment ──


def test_the_users_variables_win(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    variables = cpu.environment()
    assert variables["OMP_NUM_THREADS"] == "7"
    assert variables["DS_ACCELERATOR"] == "cpu"
    assert all(why for _, why in VARIABLES.values())


def test_threads_are_the_users_or_ours(monkeypatch):
    for name in ("RAY_ADDRESS", "OMP_NUM_THREADS", "DELTAL_CHOOSES_THREADS"):
        monkeypatch.delenv(name, raising=False)

    def of_workers():
        return cpu.ray_init_arguments(1, threads=3)["runtime_env"]["env_vars"]["OMP_NUM_THREADS"]

    assert not cpu.chooses_threads()
    cpu.set_environment()  # twice: the quick start starts a training
    cpu.set_environment()
    assert cpu.chooses_threads() and os.environ["OMP_NUM_THREADS"] == "1" and of_workers() == "3"
    monkeypatch.delenv("DELTAL_CHOOSES_THREADS")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    cpu.set_environment()
    assert not cpu.chooses_threads() and of_workers() == "7"


def test_a_fresh_ray_gets_resources_and_a_running_one_does_not(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    arguments = cpu.ray_init_arguments(3)
    assert (arguments["address"], arguments["num_gpus"], arguments["include_dashboard"]) == ("local", 3, False)
    assert arguments["num_cpus"] > 3

    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    job = {"runtime_env": {"env_vars": {"OMP_NUM_THREADS": "2"}}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))
    arguments = cpu.ray_init_arguments(3)
    assert list(arguments) == ["runtime_env"]
    assert "OMP_NUM_THREADS" not in arguments["runtime_env"]["env_vars"]
    assert arguments["runtime_env"]["env_vars"]["DS_ACCELERATOR"] == "cpu"
