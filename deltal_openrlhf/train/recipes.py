"""The authors' 18 experiments in OpenRLHF's flags, for comparing a run with them.

The source is https://github.com/zerolllin/Delta-L-Normalization at commit 89da5b9d: the scripts named below, and
verl/trainer/config/ppo_trainer.yaml for what they leave out. The names are those of configs/NAME.yaml.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltal_openrlhf.arguments import Arguments

REPOSITORY = "https://github.com/zerolllin/Delta-L-Normalization at 89da5b9d"

DAPO_NORM = {"actor.loss_agg_mode": "token-mean", "algo.advantage.estimator": "group_norm"}
GRPO_NORM = {"actor.loss_agg_mode": "seq-mean-token-mean", "algo.advantage.estimator": "group_norm"}
DR_GRPO_NORM = {"actor.loss_agg_mode": "seq-mean-token-sum-norm", "algo.advantage.estimator": "group_norm"}
DR_GRPO = {"actor.loss_agg_mode": "seq-mean-token-sum-norm", "algo.advantage.estimator": "dr_grpo"}
OVERLONG_FILTERING = {**DAPO_NORM, "deltal.overlong_filtering": True}
SOFT_PUNISHMENT = {**DAPO_NORM, "reward.overlong_buffer_len": 2048.0, "reward.overlong_penalty_factor": 1.0}


def deltal(alpha: float) -> dict[str, Any]:
    return {
        "actor.loss_agg_mode": "deltal",
        "algo.advantage.estimator": "group_norm",
        "deltal.alpha": alpha,
        "deltal.scope": "rollout",
    }


# Flags of all experiments.
COMMON = {
    "actor.model_name_or_path": "Qwen/Qwen2.5-3B",
    "rollout.batch_size": 128,
    "rollout.temperature": 1.0,
    "rollout.top_p": 1.0,
    "train.max_epochs": 1,
    "actor.optim": "adam",
    "actor.adam.lr": 1e-6,
    "actor.adam.betas": (0.9, 0.999),
    "actor.adam.eps": 1e-8,
    "actor.adam.weight_decay": 0.01,
    "actor.lr_scheduler": "constant",
    "actor.lr_warmup_ratio": 0.0,
    "actor.eps_clip_low_high": (0.2, 0.3),
    "actor.max_norm": 1.0,
    "actor.entropy_coef": 0.0,
    "algo.kl.init_coef": 0.0,
    "train.micro_batch_size": 4,
    "eval.temperature": 1.0,
    "eval.n_samples_per_prompt": 8,
    "deltal.overlong_filtering": False,
    "reward.overlong_buffer_len": None,
    "reward.stop_properly_penalty_coef": None,
    "reward.normalize_enable": False,
    "algo.kl.use_loss": False,
    "algo.advantage.is_correction_level": "off",
    "data.apply_chat_template": False,
    "train.async_enable": False,
    "ds.lora.rank": 0,
    "vllm.gpu_memory_utilization": 0.8,
}
LOSS_ONLY = {
    "rollout.n_samples_per_prompt": 10,
    "train.batch_size": 320,
    "rollout.max_new_tokens": 8192,
    "actor.dual_clip": 3.0,
    "algo.dynamic_filtering_enable": False,
    "eval.steps": 50,
}
DAPO = {
    "rollout.n_samples_per_prompt": 8,
    "train.batch_size": 256,
    "rollout.max_new_tokens": 3072,
    "actor.dual_clip": 10.0,
    "algo.dynamic_filtering_enable": True,
    "algo.dynamic_filtering_range": (0.0, 1.0),
}
PROMPT = {"countdown": 256, "math": 1024}
"""Longest prompt in tokens."""


@dataclass(frozen=True)
class Experiment:
    """One experiment.

    script: the path in the authors' repository. method: the flags that define the experiment. gpus: those of one node.
    """

    script: str
    method: dict[str, Any]
    gpus: int = 4

    @property
    def task(self) -> str:
        """The task: countdown or math."""
        return self.script.rpartition("/")[2].partition("-")[0]

    @property
    def dapo(self) -> bool:
        return self.script.startswith("recipe/dapo/")

    def flags(self) -> dict[str, Any]:
        """All settings of the experiment that have a flag here."""
        flags = {**COMMON, **(DAPO if self.dapo else LOSS_ONLY), **self.method}
        if flags["actor.loss_agg_mode"] in ("deltal", "seq-mean-token-sum-norm"):
            flags["deltal.max_length"] = flags["rollout.max_new_tokens"]
        flags["data.max_len"] = PROMPT[self.task] + flags["rollout.max_new_tokens"]
        flags["train.num_episodes"] = 1500 if self.dapo and self.task == "countdown" else 15
        if self.dapo:
            flags["eval.steps"] = 25 if self.task == "countdown" else 50
        flags["ckpt.save_steps"] = 2000 if self.task == "math" and not self.dapo else 1000
        return flags


NO_PART_OF_IT = tuple(
    """
    ckpt. logger. vllm. ref.
    actor.num_nodes actor.num_gpus_per_node actor.gradient_checkpointing_enable actor.gradient_checkpointing_reentrant
    config dry_run local_rank use_ms
    data.dataloader_num_workers data.disable_fast_tokenizer data.input_key data.label_key data.prompt_dataset data.prompt_split
    deltal.allow_changed_loss deltal.grace deltal.reward_wait deltal.save_rollouts deltal.stall_timeout
    ds.adam_offload ds.attn_implementation ds.deepcompile ds.enable_sleep ds.overlap_comm ds.packing_samples
    ds.ring_attn_head_stride ds.ring_attn_size ds.tensor_parallel_size ds.use_universal_ckpt ds.zero_stage ds.zpg
    eval.dataset eval.split
    rollout.max_tokens_per_gpu rollout.micro_batch_size
    train.colocate_actor_ref train.colocate_all train.dynamic_batch_enable train.max_tokens_per_gpu
    """.split()
)
"""Hardware, paths, names and logging: they make no experiment. A flag, or a group that ends in a dot. Dynamic batches have a difference
of their own below."""


def _only(script: str, method: dict[str, Any]) -> Experiment:
    return Experiment(f"train_scripts/{script}.sh", method)


def _dapo(script: str, method: dict[str, Any], gpus: int = 4) -> Experiment:
    return Experiment(f"recipe/dapo/{script}.sh", method, gpus)


EXPERIMENTS = {
    "countdown-dapo-norm": _only("countdown-3b-dapo-norm", DAPO_NORM),
    "countdown-grpo-norm": _only("countdown-3b-grpo-norm", GRPO_NORM),
    "countdown-dr-grpo-norm": _only("countdown-3b-dr-grpo-norm", DR_GRPO_NORM),
    "countdown-dr-grpo": _only("countdown-3b-dr-grpo", DR_GRPO),
    "countdown-deltal": _only("countdown-3b-delta-l-norm-alpha-1", deltal(1.0)),
    "math-dapo-norm": _only("math-3b-dapo-norm", DAPO_NORM),
    "math-grpo-norm": _only("math-3b-grpo-norm", GRPO_NORM),
    "math-dr-grpo-norm": _only("math-3b-dr-grpo-norm", DR_GRPO_NORM),
    # Their README calls it math-3b-dr-grpo.sh, which does not exist; what this one sets is Dr. GRPO.
    "math-dr-grpo": _only("math-3b-dr-dapo", DR_GRPO),
    "math-deltal": _only("math-3b-delta-l-norm-alpha-0.75", deltal(0.75)),
    "countdown-dapo-overlong-filtering": _dapo("countdown-dapo-3b-w-overlong-filtering", OVERLONG_FILTERING),
    "countdown-dapo-soft-punishment": _dapo("countdown-dapo-3b-w-soft-punishment", SOFT_PUNISHMENT, gpus=8),
    "countdown-dapo-neither": _dapo("countdown-dapo-3b-wo-sp-wo-of", DAPO_NORM),
    "countdown-dapo-deltal": _dapo("countdown-dapo-3b-delta-L-norm-alpha-1", deltal(1.0)),
    "math-dapo-overlong-filtering": _dapo("math-dapo-3b-w-overlong-filtering", OVERLONG_FILTERING),
    "math-dapo-soft-punishment": _dapo("math-dapo-3b-w-soft-punishment", SOFT_PUNISHMENT, gpus=8),
    "math-dapo-neither": _dapo("math-dapo-3b-wo-sp-wo-of", DAPO_NORM, gpus=8),
    "math-dapo-deltal": _dapo("math-dapo-3b-delta-L-norm-alpha-0.75", deltal(0.75)),
}


def recipe_of(args: Arguments) -> str | None:
    """The last --config that has a recipe's name, because later files win."""
    return next((path for path in reversed(args.config or []) if Path(path).stem in EXPERIMENTS), None)


def recipe_with_mode(args: Arguments) -> str | None:
    """The recipe of the same task and family as the run's, with the run's --loss_agg: the one that sets least besides. None for GSPO."""
    if (given := recipe_of(args)) is None or args.actor.policy_loss_type == "gspo":
        return None
    like = EXPERIMENTS[Path(given).stem]
    found = {
        name: experiment.method
        for name, experiment in EXPERIMENTS.items()
        if (experiment.task, experiment.dapo) == (like.task, like.dapo)
        and experiment.method["actor.loss_agg_mode"] == args.actor.loss_agg_mode
    }
    return min(found, key=lambda name: len(found[name]), default=None)


def method_differences(args: Arguments, experiment: Experiment) -> Iterator[tuple[str, str, str]]:
    """The differences from the authors' method that no flag causes and that this run has: what, ours, the authors'."""
    if args.algo.dynamic_filtering_enable:
        yield (
            "dynamic sampling",
            "a prompt without signal is replaced by the next one, until 128 are left; no limit on how many are tried",
            "384 prompts are generated at a time, at most 10 times; what is over 128 is thrown away",
        )
        if experiment.task == "math" and args.reward.overlong_buffer_len is not None:
            yield (
                "signal of a prompt",
                "correctness: a prompt whose answers are all right or all wrong is replaced",
                "the final reward: with soft punishment a prompt without a right answer is kept when its answers are punished differently",
            )
    if args.deltal.overlong_filtering:
        yield (
            "overlong filtering",
            "responses cut off by the limit (finish reason) are left out of the loss and of its counts",
            "responses as long as the limit, ended or not, get advantage 0; they still count in the divisor",
        )
    if args.actor.loss_agg_mode == "token-mean":
        yield (
            "token mean",
            "over all tokens of an optimizer step",
            "over the tokens of 4 responses, then the mean over these micro batches",
        )
    yield (
        "order of responses",
        "by length, without shuffling (--train.dynamic_batch_enable): the first optimizer step of a rollout takes the longest and the "
        "shortest responses, the last one the middle"
        if args.train.dynamic_batch_enable
        else "shuffled: an optimizer step takes responses of many prompts",
        "in the order of the prompts, balanced over the GPUs by length",
    )
    yield (
        "what waits in the CPU's memory",
        "parameters and optimizer state while vLLM generates (--ds.enable_sleep)"
        if args.ds.enable_sleep
        else "nothing of the actor's, or the optimizer state with --ds.adam_offload",
        "parameters and optimizer state whenever they are not in use (param_offload, optimizer_offload)",
    )
    if args.eval.dataset and not experiment.dapo:
        yield "evaluation before the first step", "none; deltal eval does it", "yes"
    yield from TASK_DIFFERENCES[experiment.task]


TASK_DIFFERENCES = {
    "countdown": (
        (
            "data",
            "deltal data countdown: our prompt's wording, split by a hash. --source takes the authors' rows, chosen at random. Without it, "
            "problems are generated, 20,000 of 3 to 6 numbers unless --train and --num_numbers say otherwise",
            "Jiayi-Pan/Countdown-Tasks-3to4 (3 or 4 numbers), rows 0 to 327,679 and the next 1,024 for the test",
        ),
        (
            "answers",
            "exact fractions; the last <answer> of the response",
            "eval and a tolerance of 1e-5; the last <answer> of the last line",
        ),
    ),
    "math": (
        (
            "data",
            "deltal data math: our prompt's wording; Open-Reasoner-Zero 57k without the problems of the evaluation sets",
            "Open-Reasoner-Zero 57k as it is; of several answers in Minerva only the first",
        ),
        (
            "answers",
            "deltal_openrlhf/rewards: math-verify behind our own checks; an answer that cannot be graded in time is counted apart",
            "an HTTP server around sympy; an answer of more than 30 characters is wrong unless it is the same text; any fault is reward 0",
        ),
    ),
}
