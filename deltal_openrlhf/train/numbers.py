"""The range of each number of a run. With a number out of range the host fails late, hangs, or silently trains on nonsense."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from deltal_openrlhf import cpu
from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host.optimizer_flags import WITH_LEAST_RATE
from deltal_openrlhf.host.settings import longest_response
from deltal_openrlhf.host.worker_groups import worker_groups
from deltal_openrlhf.models.positions import num_positions
from deltal_openrlhf.runs.faults import Faults, Unusable

STEPS_ALONE = (
    *("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"),
    *WITH_LEAST_RATE,
)
"""The schedulers of transformers that need no more than the host tells them: warmup, number of steps, least rate."""


class Range(NamedTuple):
    """The values that a flag may have.

    fits: whether a value is allowed. allowed: the range for a message. NaN never fits.
    """

    fits: Callable[[Any], bool]
    allowed: str


def _least(number: int) -> Range:
    return Range(lambda value: number <= value < math.inf, f"{number} or more")


def _or_none(of: Range) -> Range:
    return Range(lambda value: value is None or of.fits(value), of.allowed)


def _both(of: Range, *, rising: bool = False) -> Range:
    allowed = f"two values, each {of.allowed}" + (", the first below the second" if rising else "")
    return Range(lambda pair: all(map(of.fits, pair)) and (not rising or pair[0] < pair[1]), allowed)


FINITE = Range(math.isfinite, "a finite number")
POSITIVE = Range(lambda value: 0 < value < math.inf, "more than 0, and finite")
NOT_NEGATIVE = Range(lambda value: 0 <= value < math.inf, "0 or more, and finite")
SHARE = Range(lambda value: 0 <= value <= 1, "0 to 1")
PART = Range(lambda value: 0 < value <= 1, "more than 0 and up to 1")
DECAY = Range(lambda value: 0 <= value < 1, "0 or more, and below 1")
EVERY = Range(lambda value: value == -1 or 1 <= value < math.inf, "a number of PPO steps from 1 on, or -1 for never")
SIZE = _least(1)
COUNT = _least(0)

OPTIMIZER: dict[str, Range] = {
    "muon.lr": NOT_NEGATIVE,
    "muon.momentum": DECAY,
    "muon.ns_steps": SIZE,
    "adam.lr": NOT_NEGATIVE,
    "adam.betas": _both(DECAY),
    "adam.eps": POSITIVE,
    "adam.weight_decay": NOT_NEGATIVE,
    "lr_scheduler": Range(lambda name: name in STEPS_ALONE, ", ".join(STEPS_ALONE)),
    "lr_warmup_ratio": SHARE,
    "min_lr_ratio": SHARE,
    "max_norm": NOT_NEGATIVE,
}
RANGES: dict[str, Range] = {
    # Rollouts.
    "rollout.batch_size": SIZE,
    "rollout.micro_batch_size": SIZE,
    "rollout.n_samples_per_prompt": SIZE,
    "rollout.max_tokens_per_gpu": _or_none(SIZE),
    "rollout.temperature": POSITIVE._replace(allowed="more than 0: OpenRLHF divides the logits by it"),
    "rollout.top_p": PART,
    "vllm.num_engines": _or_none(COUNT),  # check_placement says why not 0
    "vllm.tensor_parallel_size": SIZE,
    "vllm.gpu_memory_utilization": PART,
    # Data and evaluation.
    "data.max_len": _least(2),
    "data.max_samples": SIZE,
    "data.dataloader_num_workers": COUNT,
    "data.max_images_per_prompt": COUNT,
    "eval.temperature": NOT_NEGATIVE,
    "eval.n_samples_per_prompt": SIZE,
    # Rewards and advantages.
    "reward.clip_range": _both(Range(lambda value: not math.isnan(value), "a number"), rising=True),
    "reward.overlong_penalty_factor": NOT_NEGATIVE,
    "reward.stop_properly_penalty_coef": _or_none(
        Range(lambda value: -math.inf < value <= 1, "0 to 1, a factor, or below 0, the reward itself")
    ),
    "algo.dynamic_filtering_range": _both(FINITE, rising=True),
    "algo.advantage.lambd": SHARE,
    "algo.advantage.gamma": SHARE,
    "algo.kl.init_coef": NOT_NEGATIVE,
    "algo.kl.target": _or_none(POSITIVE),
    "algo.kl.horizon": SIZE,
    # The policy's loss, and the critic's.
    "actor.eps_clip": POSITIVE,
    "actor.eps_clip_low_high": _or_none(_both(POSITIVE)),
    "actor.dual_clip": _or_none(Range(lambda value: 1 < value < math.inf, "more than 1, and finite")),
    "actor.entropy_coef": _or_none(FINITE),
    "actor.aux_loss_coef": NOT_NEGATIVE,
    "critic.value_clip": POSITIVE,
    "critic.freezing_steps": _least(-1),
    # Training.
    "train.batch_size": SIZE,
    "train.micro_batch_size": SIZE,
    "train.max_tokens_per_gpu": SIZE,
    "train.max_epochs": SIZE,
    "train.num_episodes": SIZE,
    "train.async_queue_size": SIZE,
    "train.ema_beta": DECAY,
    "train.seed": Range(lambda seed: 0 <= seed < 2**31, f"0 to {2**31 - 1}"),
    "ds.zero_stage": Range(lambda stage: stage in range(4), "0, 1, 2 and 3"),
    "ds.zpg": SIZE,
    "ds.tensor_parallel_size": SIZE,
    "ds.ring_attn_size": SIZE,
    "ds.ring_attn_head_stride": SIZE,
    "ds.lora.rank": COUNT,
    "ds.lora.alpha": SIZE,
    "ds.lora.dropout": DECAY,
    # What is written, and when.
    "eval.steps": EVERY,
    "ckpt.save_steps": EVERY,
    "ckpt.max_num": SIZE,
    "ckpt.max_mem": Range(lambda gib: gib > 0, "more than 0"),
    "logger.logging_steps": SIZE,
    "deltal.alpha_window": _or_none(SIZE),
    "deltal.grace": NOT_NEGATIVE._replace(allowed="seconds from 0 on"),
    "deltal.stall_timeout": NOT_NEGATIVE._replace(allowed="seconds above 0, or 0 for none"),
}
RANGES |= {f"{model}.{flag}": of for model in ("actor", "critic") for flag, of in OPTIMIZER.items()}


def check_numbers(args: Arguments, defaults: Mapping[str, Any] | None = None) -> None:
    """Raise Refused, a ValueError, for all values out of their range. args: hierarchical.

    defaults: the parser's value of every flag that is set, by dest. A flag out of its range is set back to its own, so that later checks
    can calculate.
    """
    faults, defaults = Faults(), defaults or {}
    _check_ranges(args, RANGES.items(), defaults, faults)
    _check_ranges(args, _ranges_of_run(args), defaults, faults)  # calculated from the values of the first ones
    with faults.gathered():
        _check_kl_target(args)
    faults.refuse()


def _check_ranges(
    args: Arguments, ranges: Iterable[tuple[str, Range]], defaults: Mapping[str, Any], faults: Faults
) -> None:
    for flag, of in ranges:
        value = cpu.lookup(args, flag)
        if of.fits(value):
            continue
        faults.add(Unusable(f"--{flag} is {_text(value)}, allowed is {of.allowed}", [f"--{flag}"]))
        if flag in defaults:
            group, _, name = flag.rpartition(".")
            setattr(cpu.lookup(args, group), name, defaults[flag])


def _check_kl_target(args: Arguments) -> None:
    if args.algo.kl.target is not None and args.algo.kl.init_coef == 0:
        raise ValueError(
            f"--algo.kl.target is {args.algo.kl.target:g}, but --algo.kl.init_coef is 0: the coefficient stays 0, and there is no "
            "reference model; allowed is an --algo.kl.init_coef above 0"
        )


def _ranges_of_run(args: Arguments) -> Iterator[tuple[str, Range]]:
    """The ranges that depend on other flags."""
    longest, batch = longest_response(args), args.rollout.batch_size
    yield (
        "rollout.max_new_tokens",
        Range(
            lambda n: n is None or 0 < n < args.data.max_len,
            f"1 to {args.data.max_len - 1}, less than --data.max_len, which holds prompt and response",
        ),
    )
    yield (
        "reward.overlong_buffer_len",
        Range(lambda n: n is None or 0 < n <= longest, f"more than 0 and up to {longest}, the longest response"),
    )
    yield (
        "rollout.vllm_generate_batch_size",
        Range(
            lambda n: not n or n >= batch, f"{batch} or more, --rollout.batch_size; with fewer every rollout is short"
        ),
    )
    if args.algo.advantage.is_correction_level != "off":
        yield (
            "algo.advantage.is_correction_threshold",
            Range(_is_threshold, "HIGH, or LOW and HIGH, from 0 on, the first below the second"),
        )
    for name in worker_groups(args):
        yield f"{name}.num_nodes", SIZE
        yield f"{name}.num_gpus_per_node", SIZE


def _is_threshold(values: list[float]) -> bool:
    low, high = [0.0, *values][-2:]
    return len(values) in (1, 2) and 0 <= low < high


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def check_positions(args: Arguments) -> None:
    """Raise ValueError for a --data.max_len beyond the policy's positions. For a model that is not on this machine, vLLM checks it."""
    from transformers import AutoConfig

    name, longest = args.actor.model_name_or_path, args.data.max_len
    if os.environ.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") == "1":
        return
    try:
        config = AutoConfig.from_pretrained(name, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return  # not here, or broken: who loads the model says so
    positions = num_positions(config)
    if positions is not None and longest > positions:
        raise ValueError(
            f"--data.max_len is {longest}, but {name} has {positions} positions (max_position_embeddings of its config.json, scaling of "
            f"RoPE included); allowed is up to {positions}, or more with VLLM_ALLOW_LONG_MAX_MODEL_LEN=1"
        )


def check_loss_flags(args: Arguments) -> None:
    """Raise ValueError for flags that the host's policy loss refuses. Workers make that loss only after loading the model."""
    advantage = args.algo.advantage
    given = advantage.is_correction_level, advantage.is_correction_mode, advantage.is_correction_gating
    if given == ("off", "mask", "ratio"):  # the host's defaults; the import below takes many seconds
        return
    from openrlhf.models import PolicyLoss

    threshold = advantage.is_correction_threshold
    try:
        PolicyLoss(
            is_correction_level=advantage.is_correction_level,
            is_correction_mode=advantage.is_correction_mode,
            is_correction_gating=advantage.is_correction_gating,
            is_correction_threshold=[0.0, *threshold] if len(threshold) == 1 else threshold,
        )
    except ValueError as error:
        raise ValueError(f"OpenRLHF refuses these flags: --algo.advantage.{error}") from None
