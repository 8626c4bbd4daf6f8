"""The flags of `deltal train`, read for the single-process loop: what it follows, what has no meaning in one process, what it refuses."""

import argparse
import runpy
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deltal_openrlhf import cpu
from deltal_openrlhf.host import bindings
from deltal_openrlhf.host.settings import LossSettings
from deltal_openrlhf.train import config_files, flags

PROG = "deltal compare"

FOLLOWED = {
    "actor.model_name_or_path",
    "actor.adam.lr",
    "actor.adam.betas",
    "actor.adam.eps",
    "actor.adam.weight_decay",
    "actor.lr_scheduler",
    "actor.lr_warmup_ratio",
    "actor.min_lr_ratio",
    "actor.max_norm",
    "actor.eps_clip",
    "actor.eps_clip_low_high",
    "actor.dual_clip",
    "actor.entropy_coef",
    flags.MODE_FLAG,
    "deltal.alpha",
    "deltal.scope",
    "deltal.max_length",
    "deltal.overlong_filtering",
    "deltal.sgd",
    "algo.advantage.estimator",
    "algo.kl.init_coef",
    "reward.remote_url",
    "reward.clip_range",
    "reward.overlong_buffer_len",
    "reward.overlong_penalty_factor",
    "reward.stop_properly_penalty_coef",
    "data.prompt_dataset",
    "data.input_key",
    "data.label_key",
    "data.input_template",
    "data.apply_chat_template",
    "data.max_samples",
    "data.max_len",
    "rollout.batch_size",
    "rollout.n_samples_per_prompt",
    "rollout.max_new_tokens",
    "rollout.temperature",
    "train.batch_size",
    "train.max_epochs",
    "train.num_episodes",
    "train.seed",
    "eval.dataset",
    "eval.steps",
    "eval.temperature",
    "eval.n_samples_per_prompt",
}
ONE_PROCESS = {
    "actor.num_nodes",
    "actor.num_gpus_per_node",
    "ckpt.output_dir",
    "ckpt.path",
    "ckpt.save_steps",
    "ckpt.load_enable",
    "ds.attn_implementation",
    "ds.enable_sleep",
    "ds.param_dtype",
    "ds.zero_stage",
    "rollout.micro_batch_size",
    "train.colocate_all",
    "train.micro_batch_size",
    "vllm.enable_sleep",
    "vllm.enforce_eager",
    "vllm.gpu_memory_utilization",
    "vllm.num_engines",
    "vllm.sync_backend",
    "vllm.tensor_parallel_size",
}
"""Where and in which pieces the pipeline computes; the update does not depend on them. The loop computes in float32."""

ESTIMATORS = ("group_norm", "dr_grpo", "rloo", "reinforce_baseline", "reinforce")


class _Parsed(Exception):
    """Ends the host's command line once its flags are read."""


def read_flags(given: Mapping[str, Any]) -> tuple[Any, dict[str, str]]:
    """(the host's hierarchical arguments, origin of every flag that was given, by dest). Raises ValueError in one line.

    given: flags of `deltal train` without the dashes, as in a --config file.
    """
    caught: list[argparse.Namespace] = []
    origins: dict[str, str] = {}

    def add_flags(parser: argparse.ArgumentParser) -> None:
        flags.add_flags(parser, PROG)
        parser.error = _raise  # type: ignore[method-assign,assignment]
        sys.argv[1:], found = config_files.expand(parser, sys.argv[1:])
        origins.update(found)

    def check(namespace: argparse.Namespace) -> None:
        caught.append(namespace)
        raise _Parsed

    from openrlhf.utils.config import hierarchize

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "flags.yaml"
        file.write_text(yaml.safe_dump(dict(given), allow_unicode=True), encoding="utf-8")
        argv, sys.argv = sys.argv, [PROG, "--config", str(file)]
        try:
            with bindings.parser_bound(add_flags, check):
                runpy.run_module(bindings.CLI_MODULE, run_name="__main__")
        except _Parsed:
            return hierarchize(caught[0]), origins
        except ValueError as error:
            # The file is ours; the user knows the flags by their names.
            raise ValueError(str(error).replace(f"{file}:", "line ")) from error
        finally:
            sys.argv = argv
    raise RuntimeError("the host's command line did not parse its flags: the host changed")


def check_loop_flags(given: Mapping[str, Any]) -> tuple[Any, LossSettings]:
    """Arguments and loss settings of a run in the single-process loop. Raises ValueError in one line for what it does not do."""
    args, origins = read_flags(given)
    unknown = sorted(set(origins) - FOLLOWED - ONE_PROCESS - {"config"})
    if unknown:
        raise ValueError(
            f"--{unknown[0]} is not followed by the single-process loop; leave it out, or take --engine pipeline"
        )
    for flag, allowed in (
        ("actor.optim", ("adam",)),
        ("actor.policy_loss_type", ("ppo",)),
        ("algo.advantage.estimator", ESTIMATORS),
    ):
        value = cpu.lookup(args, flag)
        if value not in allowed:
            raise ValueError(f"--{flag} is {value}, allowed in the single-process loop is {', '.join(allowed)}")
    if args.algo.kl.init_coef:
        raise ValueError(f"--algo.kl.init_coef is {args.algo.kl.init_coef}, allowed in the single-process loop is 0")
    if args.actor.entropy_coef:
        raise ValueError(f"--actor.entropy_coef is {args.actor.entropy_coef}, allowed in the single-process loop is 0")
    if not args.rollout.temperature > 0:
        raise ValueError(f"--rollout.temperature is {args.rollout.temperature}, allowed is above 0")
    if args.rollout.max_new_tokens is None:
        raise ValueError("--rollout.max_new_tokens is not given; the single-process loop needs it")
    for flag in ("data.prompt_dataset", "eval.dataset"):
        value = cpu.lookup(args, flag)
        if value is None and flag == "eval.dataset":
            continue
        if not value or not Path(value).is_file() or Path(value).suffix != ".jsonl":
            raise ValueError(f"--{flag} is {value}, allowed in the single-process loop is one .jsonl file that exists")
    source = args.reward.remote_url
    if not source or not Path(source).is_file() or not source.endswith(".py"):
        raise ValueError(
            f"--reward.remote_url is {source}, allowed in the single-process loop is a .py file with reward_func"
        )
    responses = args.rollout.batch_size * args.rollout.n_samples_per_prompt
    if responses % args.train.batch_size:
        raise ValueError(
            f"--train.batch_size is {args.train.batch_size}, allowed is a divisor of the {responses} responses of a rollout "
            "(--rollout.batch_size x --rollout.n_samples_per_prompt)"
        )
    return args, LossSettings.from_args(args)


def _raise(message: str) -> None:
    raise ValueError(" ".join(message.split()))
