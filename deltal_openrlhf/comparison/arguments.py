"""Reads the flags of `deltal train` for the single-process loop, and decides which it follows, ignores as meaningless in one process, or
refuses.
"""

import argparse
import runpy
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import yaml

from deltal_openrlhf import cpu
from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host import bindings
from deltal_openrlhf.host.settings import LossSettings
from deltal_openrlhf.rewards import named
from deltal_openrlhf.train import config_files, flags

PROG = "deltal compare"

READ = set(
    """
    actor.model_name_or_path
    data.apply_chat_template data.input_key data.input_template data.label_key data.max_len data.max_samples data.prompt_dataset
    eval.dataset rollout.batch_size rollout.max_new_tokens
    """.split()
)
"""The flags that inputs.py reads."""
FOLLOWED = READ | set(
    f"""
    actor.adam.betas actor.adam.eps actor.adam.lr actor.adam.weight_decay
    actor.dual_clip actor.entropy_coef actor.eps_clip actor.eps_clip_low_high actor.max_norm
    actor.lr_scheduler actor.lr_warmup_ratio actor.min_lr_ratio
    {flags.MODE_FLAG} deltal.alpha deltal.alpha_window deltal.max_length deltal.overlong_filtering deltal.scope deltal.sgd
    algo.advantage.estimator algo.dynamic_filtering_enable algo.dynamic_filtering_range algo.kl.init_coef
    reward.clip_range reward.overlong_buffer_len reward.overlong_penalty_factor reward.remote_url reward.stop_properly_penalty_coef
    rollout.n_samples_per_prompt rollout.temperature
    train.batch_size train.max_epochs train.num_episodes train.seed
    eval.n_samples_per_prompt eval.steps eval.temperature
    """.split()
)
ONE_PROCESS = set(
    """
    actor.num_gpus_per_node actor.num_nodes
    ckpt.load_enable ckpt.output_dir ckpt.path ckpt.save_steps
    ds.attn_implementation ds.enable_sleep ds.param_dtype ds.zero_stage
    rollout.micro_batch_size train.colocate_all train.micro_batch_size
    vllm.enable_sleep vllm.enforce_eager vllm.gpu_memory_utilization vllm.num_engines vllm.sync_backend vllm.tensor_parallel_size
    """.split()
)
"""These say where the pipeline computes, and in which pieces. The update does not depend on them, but for a short rollout: the pipeline
splits it over actor.num_nodes x actor.num_gpus_per_node ranks, and each leaves out what fills no train.micro_batch_size. The loop computes
in float32."""

ALLOWED: dict[str, tuple[str | int | None, ...]] = {
    "actor.optim": ("adam",),
    "actor.policy_loss_type": ("ppo",),
    "algo.advantage.estimator": ("group_norm", "dr_grpo", "rloo", "reinforce_baseline", "reinforce"),
    "algo.kl.init_coef": (0,),
    "deltal.baseline": (None, "opo"),
    "actor.entropy_coef": (0, None),
}


class _Parsed(Exception):
    """An exception that ends the host's command line once its flags are read."""


@contextmanager
def flags_file(given: Mapping[str, Any]) -> Iterator[str]:
    """Write a --config file with these flags of `deltal train`, which have no dashes. Returns its path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flags.yaml"
        path.write_text(yaml.safe_dump(dict(given), allow_unicode=True), encoding="utf-8")
        yield str(path)


def read_flags(given: Mapping[str, Any]) -> tuple[Arguments, dict[str, str]]:
    """The host's hierarchical arguments, and the origin of every given flag, by dest. Raises ValueError in one line.

    given: flags of `deltal train` without the dashes, as in a --config file.
    """
    caught: list[argparse.Namespace] = []
    origins: dict[str, str] = {}

    def add_flags(parser: argparse.ArgumentParser) -> None:
        flags.add_flags(parser, PROG)
        parser.error = _raise  # type: ignore[method-assign]
        sys.argv[1:], found = config_files.expand(parser, sys.argv[1:])
        origins.update(found)

    def check(namespace: argparse.Namespace) -> None:
        caught.append(namespace)
        raise _Parsed

    from openrlhf.utils.config import hierarchize

    with flags_file(given) as file:
        argv, sys.argv = sys.argv, [PROG, "--config", file]
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


def check_loop_flags(given: Mapping[str, Any]) -> tuple[Arguments, LossSettings]:
    """The arguments and loss settings of a run in the single-process loop. Raises ValueError, in one line, for what the loop cannot do."""
    args, origins = read_flags(given)
    unknown = sorted(set(origins) - FOLLOWED - ONE_PROCESS - {"config"})
    if unknown:
        raise ValueError(
            f"--{unknown[0]} is not followed by the single-process loop; leave it out, or take --engine pipeline"
        )
    for flag, allowed in ALLOWED.items():
        value = cpu.lookup(args, flag)
        if value not in allowed:
            said = ", ".join(str(one) for one in allowed if one is not None)
            said += " or to leave it out" if None in allowed else ""
            raise ValueError(f"--{flag} is {value}, allowed in the single-process loop is {said}")
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
    path = named.located(source) if source else ""
    if not path.endswith(".py") or not Path(path).is_file():
        raise ValueError(
            f"--reward.remote_url is {source}, allowed in the single-process loop are {', '.join(named.FILES)} and a .py file with "
            "reward_func"
        )
    if args.algo.dynamic_filtering_enable:
        low, high = args.algo.dynamic_filtering_range
        if not low < high:
            raise ValueError(
                f"--algo.dynamic_filtering_range is {low:g} {high:g}, allowed is a lower end below the upper"
            )
        if args.rollout.n_samples_per_prompt < 2:
            raise ValueError(
                f"--rollout.n_samples_per_prompt is {args.rollout.n_samples_per_prompt}, allowed with "
                "--algo.dynamic_filtering_enable is 2 or more"
            )
    responses = args.rollout.batch_size * args.rollout.n_samples_per_prompt
    if responses % args.train.batch_size:
        raise ValueError(
            f"--train.batch_size is {args.train.batch_size}, allowed is a divisor of the {responses} responses of a rollout "
            "(--rollout.batch_size x --rollout.n_samples_per_prompt)"
        )
    return args, LossSettings.from_args(args)


def _raise(message: str) -> NoReturn:
    raise ValueError(" ".join(message.split()))
