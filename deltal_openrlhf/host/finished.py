"""Marks a finished run. Without the mark, the same command would train its last steps again and export over the model."""

import json
from pathlib import Path

from deltal_openrlhf import cpu
from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host.whole_checkpoints import newest
from deltal_openrlhf.runs.files import write_atomically

FILE = "finished.json"
"""In --ckpt.output_dir, next to the model: the run's newest checkpoint, and LENGTH."""
LENGTH = (
    *("train.num_episodes", "train.max_epochs", "train.batch_size"),
    *("rollout.batch_size", "rollout.n_samples_per_prompt"),
)
"""What the number of optimizer steps follows from, apart from the data, which may not change (data_fingerprint.py)."""


def mark(args: Arguments) -> None:
    """Record that the model in --ckpt.output_dir is that of the whole run. Called on one rank, after the export."""
    write_atomically(_path(args), json.dumps(_state(args), indent=2))


def forget(args: Arguments) -> None:
    """Remove the mark, for a run that starts anew in the same folders."""
    _path(args).unlink(missing_ok=True)


def is_finished(args: Arguments) -> bool:
    """Whether a run with --ckpt.load_enable has nothing to do: it has ended, and no flag makes it longer."""
    state = _state(args)
    if state["checkpoint"] is None or not Path(args.ckpt.output_dir, "config.json").exists():
        return False
    try:
        return bool(json.loads(_path(args).read_text(encoding="utf-8")) == state)
    except FileNotFoundError:
        return False


def _path(args: Arguments) -> Path:
    return Path(args.ckpt.output_dir, FILE)


def _state(args: Arguments) -> dict:
    checkpoint = newest(Path(args.ckpt.path, "_actor"))
    return {"checkpoint": checkpoint} | {flag: cpu.lookup(args, flag) for flag in LENGTH}
