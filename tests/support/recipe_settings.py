"""What the 18 recipes are to be, written out from the paper's list, and the host's real parser to read them with."""

import argparse
import functools
from pathlib import Path

from deltal_openrlhf.train import config_files
from deltal_openrlhf.train.parser import parser

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
OVERLAYS = CONFIGS / "overlays"

# The task, the family (the loss alone, or with DAPO) and the method make a recipe what it is.

LOSS_METHODS = {
    "dapo-norm": {"loss_agg": "token-mean", "algo.advantage.estimator": "group_norm"},
    "grpo-norm": {"loss_agg": "seq-mean-token-mean", "algo.advantage.estimator": "group_norm"},
    "dr-grpo-norm": {"loss_agg": "seq-mean-token-sum-norm", "algo.advantage.estimator": "group_norm"},
    "dr-grpo": {"loss_agg": "seq-mean-token-sum-norm", "algo.advantage.estimator": "dr_grpo"},
    "deltal": {"loss_agg": "deltal", "algo.advantage.estimator": "group_norm"},
}
DAPO_METHODS = {
    "dapo-overlong-filtering": LOSS_METHODS["dapo-norm"] | {"deltal.overlong_filtering": True},
    "dapo-soft-punishment": LOSS_METHODS["dapo-norm"]
    | {"reward.overlong_buffer_len": 2048, "reward.overlong_penalty_factor": 1},
    "dapo-neither": LOSS_METHODS["dapo-norm"],
    "dapo-deltal": LOSS_METHODS["deltal"],
}
MADE_OF = {
    f"{task}-{method}": (task, family, settings)
    for task in ("countdown", "math")
    for family, methods in (("loss", LOSS_METHODS), ("dapo", DAPO_METHODS))
    for method, settings in methods.items()
}
# Flags that only some recipes set; the host's default for the others.
OFF = {
    "deltal.overlong_filtering": False,
    "reward.overlong_buffer_len": None,
    "reward.overlong_penalty_factor": 1,
    "alpha": None,
    "deltal.scope": None,
    "deltal.max_length": None,
}
COMMON = {
    "actor.model_name_or_path": "Qwen/Qwen2.5-3B",
    "rollout.batch_size": 128,
    "rollout.temperature": 1.0,
    "rollout.top_p": 1.0,
    "train.max_epochs": 1,
    "actor.optim": "adam",
    "actor.adam.lr": 1e-6,
    "actor.lr_scheduler": "constant",
    "actor.lr_warmup_ratio": 0.0,
    "actor.adam.betas": [0.9, 0.999],
    "actor.adam.eps": 1e-8,
    "actor.adam.weight_decay": 0.01,
    "actor.eps_clip_low_high": [0.2, 0.3],
    "actor.max_norm": 1.0,
    "actor.entropy_coef": 0.0,
    "algo.kl.init_coef": 0.0,
    "algo.kl.use_loss": False,
    "train.colocate_all": True,
    "train.dynamic_batch_enable": False,
    "data.input_key": "input",
    "data.label_key": "label",
    "data.apply_chat_template": False,
    "eval.n_samples_per_prompt": 8,
    "eval.temperature": 1.0,
    "ckpt.load_enable": True,
}
TASK = {
    "countdown": {
        "data.prompt_dataset": "data/countdown/train.jsonl",
        "reward.remote_url": "deltal:countdown",
        "eval.dataset": "data/countdown/test.jsonl",
    },
    "math": {
        "data.prompt_dataset": "data/math/train.jsonl",
        "reward.remote_url": "deltal:math",
        "eval.dataset": "data/math/math500.jsonl,data/math/aime2024.jsonl,data/math/amc.jsonl,data/math/minerva.jsonl",
    },
}
FAMILY = {
    "loss": {
        "rollout.n_samples_per_prompt": 10,
        "train.batch_size": 320,  # 128 x 10 in 4 optimizer steps
        "rollout.max_new_tokens": 8192,
        "actor.dual_clip": 3.0,
        "algo.dynamic_filtering_enable": False,
    },
    "dapo": {
        "rollout.n_samples_per_prompt": 8,
        "train.batch_size": 256,
        "rollout.max_new_tokens": 3072,
        "actor.dual_clip": 10.0,
        "algo.dynamic_filtering_enable": True,
        "algo.dynamic_filtering_range": [0.0, 1.0],
    },
}
PROMPT = {"countdown": 256, "math": 1024}
MAX_LEN = {("countdown", "loss"): 8448, ("math", "loss"): 9216, ("countdown", "dapo"): 3328, ("math", "dapo"): 4096}
ALPHA = {"countdown": 1.0, "math": 0.75}

SCRIPTS = {
    "train_scripts/countdown-3b-dapo-norm.sh",
    "train_scripts/countdown-3b-grpo-norm.sh",
    "train_scripts/countdown-3b-dr-grpo-norm.sh",
    "train_scripts/countdown-3b-dr-grpo.sh",
    "train_scripts/countdown-3b-delta-l-norm-alpha-1.sh",
    "train_scripts/math-3b-dapo-norm.sh",
    "train_scripts/math-3b-grpo-norm.sh",
    "train_scripts/math-3b-dr-grpo-norm.sh",
    "train_scripts/math-3b-dr-dapo.sh",
    "train_scripts/math-3b-delta-l-norm-alpha-0.75.sh",
    "recipe/dapo/countdown-dapo-3b-w-overlong-filtering.sh",
    "recipe/dapo/countdown-dapo-3b-w-soft-punishment.sh",
    "recipe/dapo/countdown-dapo-3b-wo-sp-wo-of.sh",
    "recipe/dapo/countdown-dapo-3b-delta-L-norm-alpha-1.sh",
    "recipe/dapo/math-dapo-3b-w-overlong-filtering.sh",
    "recipe/dapo/math-dapo-3b-w-soft-punishment.sh",
    "recipe/dapo/math-dapo-3b-wo-sp-wo-of.sh",
    "recipe/dapo/math-dapo-3b-delta-L-norm-alpha-0.75.sh",
}


def expected(name: str) -> dict:
    """Every setting of a recipe that the experiment determines."""
    task, family, method = MADE_OF[name]
    settings = OFF | COMMON | TASK[task] | FAMILY[family] | method | {"data.max_len": MAX_LEN[task, family]}
    if settings["loss_agg"] == "deltal":
        settings |= {"alpha": ALPHA[task], "deltal.scope": "step"}
    if settings["loss_agg"] in ("deltal", "seq-mean-token-sum-norm"):
        settings["deltal.max_length"] = settings["rollout.max_new_tokens"]
    return settings


def config(*names: str) -> list[str]:
    return [word for name in names for word in ("--config", str(CONFIGS / f"{name}.yaml"))]


@functools.cache
def host_parser() -> argparse.ArgumentParser:
    """The parser of the installed OpenRLHF with our flags; a bad flag raises ValueError."""

    def error(message):
        raise ValueError(message)

    made = parser()
    made.error = error
    return made


def resolve(*argv) -> dict:
    """{flag: value} of all flags, as the host sees them."""
    made = host_parser()
    namespace = vars(made.parse_args(config_files.expand(made, list(map(str, argv))).argv))
    return namespace | {"loss_agg": namespace["actor.loss_agg_mode"], "alpha": namespace["deltal.alpha"]}
