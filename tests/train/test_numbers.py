"""Each numeric flag of the host has a range, and what is outside of it is refused in one line."""

import copy
import math

import pytest
from support.host_arguments import host_arguments
from transformers import LlamaConfig, Qwen2VLConfig

from deltal_openrlhf import cpu
from deltal_openrlhf.models.positions import num_positions
from deltal_openrlhf.train import numbers
from deltal_openrlhf.train.parser import parser

NAN = math.nan
CHECKED_ELSEWHERE = {
    # host/settings.py, host/reward.py, host/rollout_files.py
    *("deltal.alpha", "deltal.max_length", "deltal.reward_wait", "deltal.save_rollouts"),
    "local_rank",  # a launcher's; Ray's workers do not read it
}
BAD = {
    # As the reports have them, and the edges of every kind of range.
    "ckpt.save_steps": [0, -2],
    "logger.logging_steps": [0, -1],
    "eval.steps": [0, -5],
    "algo.kl.horizon": [0, -10],
    "algo.kl.target": [-0.1, 0.0, math.inf, NAN],
    "algo.kl.init_coef": [-0.01, NAN],
    "actor.lr_warmup_ratio": [3.0, -0.1, NAN],
    "critic.lr_warmup_ratio": [3.0],
    "actor.min_lr_ratio": [2.0],
    "train.ema_beta": [1.5, 1.0, -0.1],
    "train.async_queue_size": [0],
    "train.seed": [-1, 2**32],
    "train.batch_size": [0, -8],
    "train.micro_batch_size": [0],
    "train.max_epochs": [0],
    "train.num_episodes": [0],
    "train.max_tokens_per_gpu": [0],
    "rollout.batch_size": [0],
    "rollout.n_samples_per_prompt": [0],
    "rollout.micro_batch_size": [0],
    "rollout.max_tokens_per_gpu": [0],
    "rollout.vllm_generate_batch_size": [8],
    "rollout.max_new_tokens": [0, 2048],
    "rollout.temperature": [0.0, -1.0, math.inf],
    "rollout.top_p": [0.0, 1.1, NAN],
    "data.max_len": [1, 0],
    "data.max_samples": [0, -1],
    "data.dataloader_num_workers": [-1],
    "data.max_images_per_prompt": [-1],
    "eval.temperature": [-0.5, NAN],
    "eval.n_samples_per_prompt": [0],
    "vllm.num_engines": [-1],
    "vllm.tensor_parallel_size": [0],
    "vllm.gpu_memory_utilization": [0.0, 1.5],
    "actor.num_nodes": [0],
    "ref.num_gpus_per_node": [0],
    "critic.num_nodes": [0],
    "reward.num_gpus_per_node": [-1],
    "reward.clip_range": [(1.0, -1.0), (NAN, 1.0)],
    "reward.overlong_buffer_len": [0.0, 2049.0],
    "reward.overlong_penalty_factor": [-1.0],
    "reward.stop_properly_penalty_coef": [1.5, -math.inf],
    "algo.dynamic_filtering_range": [(1.0, 0.0), (0.5, 0.5), (0.0, NAN)],
    "algo.advantage.lambd": [1.5],
    "algo.advantage.gamma": [-0.1],
    "actor.eps_clip": [0.0, -0.2],
    "actor.eps_clip_low_high": [[0.2, 0.0], [NAN, 0.2]],
    "actor.dual_clip": [1.0, NAN],
    "actor.entropy_coef": [NAN, math.inf],
    "actor.aux_loss_coef": [-1.0],
    "actor.adam.lr": [-1.0, math.inf],
    "actor.adam.betas": [(0.9, 1.0), (-0.1, 0.9)],
    "actor.adam.eps": [0.0],
    "actor.adam.weight_decay": [-0.1],
    "actor.muon.momentum": [1.0],
    "actor.muon.ns_steps": [0],
    "actor.muon.lr": [NAN],
    "critic.adam.lr": [NAN],
    "actor.max_norm": [-1.0, NAN],
    "critic.value_clip": [0.0],
    "critic.freezing_steps": [-2],
    "ds.zero_stage": [4, -1],
    "ds.zpg": [0],
    "ds.ring_attn_size": [0],
    "ds.ring_attn_head_stride": [0],
    "ds.tensor_parallel_size": [0],
    "ds.lora.rank": [-1],
    "ds.lora.alpha": [0],
    "ds.lora.dropout": [1.0],
    "ckpt.max_num": [0],
    "ckpt.max_mem": [0.0, NAN],
}
GOOD = {
    "ckpt.save_steps": [-1, 1],
    "eval.steps": [-1, 50],
    "algo.kl.target": [None, 0.1],
    "train.ema_beta": [0.0, 0.999],
    "actor.lr_warmup_ratio": [0.0, 1.0],
    "rollout.vllm_generate_batch_size": [None, 1024, 4096],
    "actor.max_norm": [0.0],
    "reward.stop_properly_penalty_coef": [0.0, 1.0, -0.5],
    "reward.clip_range": [(-math.inf, math.inf)],
    "algo.dynamic_filtering_range": [(0.0, 1.0)],
    "actor.eps_clip": [1e9],
}


@pytest.fixture(scope="module")
def defaults():
    """The host's own defaults, with the critic and the reference and reward models that they bring along."""
    return host_arguments("--actor.model_name_or_path", "none")


def changed(args, flag, value):
    args = copy.deepcopy(args)
    group, name = flag.rsplit(".", 1)
    setattr(cpu.lookup(args, group), name, value)
    return args


@pytest.mark.parametrize("flag", BAD)
def test_what_is_out_of_range_is_refused_in_one_line(flag, defaults):
    for value in BAD[flag]:
        with pytest.raises(ValueError, match="allowed is ") as error:
            numbers.check_numbers(changed(defaults, flag, value))
        assert str(error.value).startswith(f"--{flag} is ")
        assert "\n" not in str(error.value)


def test_defaults_and_the_ends_of_ranges_pass(defaults):
    numbers.check_numbers(defaults)
    for flag, values in GOOD.items():
        for value in values:
            numbers.check_numbers(changed(defaults, flag, value))


def test_every_numeric_flag_has_a_range():
    """So that a flag of a later host, or of ours, is not forgotten."""
    found = {action.dest for action in parser()._actions if action.type in (int, float)}
    theirs = {flag for flag in found if not flag.startswith("megatron.")}  # megatron_ext/flags.py
    ours = {*numbers.RANGES, *BAD, "algo.advantage.is_correction_threshold"}
    assert theirs - ours - CHECKED_ELSEWHERE == {
        *("critic.num_gpus_per_node", "ref.num_nodes", "reward.num_nodes", "actor.num_gpus_per_node")
    }
    assert len(theirs) > 60


def test_groups_that_are_not_used_may_have_no_gpus(defaults):
    args = changed(defaults, "algo.advantage.estimator", "group_norm")
    numbers.check_numbers(changed(args, "critic.num_nodes", 0))
    numbers.check_numbers(changed(changed(args, "algo.kl.init_coef", 0.0), "ref.num_nodes", 0))


def test_a_kl_target_needs_a_coefficient_to_adapt(defaults):
    args = changed(changed(defaults, "algo.kl.target", 0.1), "algo.kl.init_coef", 0.0)
    with pytest.raises(
        ValueError, match="^--algo.kl.target is 0.1, but --algo.kl.init_coef is 0: the coefficient stays"
    ):
        numbers.check_numbers(args)


def test_an_agents_episode_is_bounded_by_max_len(defaults):
    args = changed(changed(defaults, "rollout.max_new_tokens", 100), "reward.overlong_buffer_len", 200.0)
    with pytest.raises(ValueError, match="allowed is more than 0 and up to 100"):
        numbers.check_numbers(args)
    numbers.check_numbers(changed(args, "train.agent_func_path", "agent.py"))


@pytest.mark.parametrize(
    ("threshold", "level", "gating", "mode", "says"),
    [
        (
            [5.0, 0.5],
            "token",
            "ratio",
            "mask",
            "--algo.advantage.is_correction_threshold is 5.0 0.5, allowed is HIGH, or",
        ),
        ([0.1, 0.2, 0.3], "token", "ratio", "mask", "--algo.advantage.is_correction_threshold is 0.1 0.2 0.3, allowed"),
        ([0.0], "token", "ratio", "mask", "--algo.advantage.is_correction_threshold is 0.0, allowed is HIGH"),
        ([0.5, 5.0], "seq", "ratio", "clip", "OpenRLHF refuses these flags: --algo.advantage.is_correction_mode=clip"),
        ([0.5, 5.0], "token", "tv", "mask", "OpenRLHF refuses these flags: --algo.advantage.is_correction_gating=tv"),
        ([0.5], "token", "tv", "mask", None),
        ([0.5, 5.0], "token", "ratio", "clip", None),
        ([5.0, 0.5], "off", "ratio", "mask", None),
    ],
)
def test_the_correction_of_importance_weights(threshold, level, gating, mode, says, defaults):
    args = defaults
    for name, value in (("threshold", threshold), ("level", level), ("gating", gating), ("mode", mode)):
        args = changed(args, f"algo.advantage.is_correction_{name}", value)

    def check():
        numbers.check_numbers(args)
        numbers.check_loss_flags(args)

    if says is None:
        check()
    else:
        with pytest.raises(ValueError) as error:
            check()
        assert str(error.value).startswith(says)
    assert args.algo.advantage.is_correction_threshold == threshold


# ── Positions ──

YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 1000}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "original_max_position_embeddings": 1000}
LLAMA3 |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        (LlamaConfig(max_position_embeddings=2048), 2048),
        (LlamaConfig(max_position_embeddings=1000, rope_parameters=YARN), 4000),
        (LlamaConfig(max_position_embeddings=4000, rope_parameters=YARN), 4000),  # a config that counts it already
        (LlamaConfig(max_position_embeddings=1000, rope_parameters={"rope_type": "linear", "factor": 2.0}), 2000),
        (LlamaConfig(max_position_embeddings=8000, rope_parameters=LLAMA3), 8000),
        (Qwen2VLConfig(text_config={"max_position_embeddings": 512}), 512),
    ],
)
def test_positions_of_a_model(config, positions, tmp_path, defaults):
    assert num_positions(config) == positions
    config.save_pretrained(tmp_path)
    args = changed(defaults, "actor.model_name_or_path", str(tmp_path))
    numbers.check_positions(changed(args, "data.max_len", positions))
    with pytest.raises(ValueError) as error:
        numbers.check_positions(changed(args, "data.max_len", positions + 1))
    assert str(error.value) == (
        f"--data.max_len is {positions + 1}, but {tmp_path} has {positions} positions (max_position_embeddings of its config.json, "
        f"scaling of RoPE included); allowed is up to {positions}, or more with VLLM_ALLOW_LONG_MAX_MODEL_LEN=1"
    )


@pytest.mark.parametrize("text", [None, "{", "[]", '{"model_type": "no such"}'])
def test_a_model_that_cannot_be_read_is_left_to_who_loads_it(text, tmp_path, defaults):
    if text:
        (tmp_path / "config.json").write_text(text)
    numbers.check_positions(changed(defaults, "actor.model_name_or_path", str(tmp_path)))
