"""Writes runs.run_settings of a run when it starts."""

import json
from dataclasses import asdict
from pathlib import Path

from deltal_openrlhf import __version__, cpu
from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host.settings import LossSettings
from deltal_openrlhf.runs.files import write_atomically
from deltal_openrlhf.runs.run_settings import NAME, RunSettings

FLAGS = (
    *("actor.model_name_or_path", "actor.adam.lr", "actor.max_norm", "actor.eps_clip_low_high"),
    *("data.prompt_dataset", "eval.dataset", "algo.advantage.estimator", "algo.kl.init_coef"),
    *("rollout.batch_size", "rollout.n_samples_per_prompt", "rollout.temperature", "rollout.max_new_tokens"),
    *("train.batch_size", "train.max_epochs", "train.seed", "train.agent_func_path"),
)
"""None of them holds a credential."""


def write(args: Arguments, settings: LossSettings) -> None:
    """Into --ckpt.output_dir. args: hierarchical."""
    flags = {flag: cpu.lookup(args, flag) for flag in FLAGS}
    text = json.dumps(asdict(RunSettings(__version__, settings.to_dict(), flags)), indent=2)
    write_atomically(Path(args.ckpt.output_dir, NAME), text + "\n")
