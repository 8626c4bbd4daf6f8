"""Decides whether a run may resume from a checkpoint: only with the loss and the training backend that it was saved with.

DeltaLStrategy saves the loss settings in the checkpoint's folder as a small JSON file. A run reads it before it starts anything.
"""

import json
from pathlib import Path

from deltal_openrlhf import backends
from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host.settings import LossSettings

SAVED_LOSS = "deltal.json"


def read_saved_loss(ckpt_path: str, tag: str) -> dict | None:
    """The loss settings saved with this checkpoint. None if there are none. Reads one small JSON file."""
    try:
        return json.loads(Path(ckpt_path, "_actor", tag, SAVED_LOSS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def check_resumed_loss(settings: LossSettings, saved: dict | None) -> None:
    """Raise ValueError if the checkpoint was trained with another loss."""
    differences = settings.differences(saved)
    if differences:
        raise ValueError(
            f"the checkpoint was trained with another loss ({'; '.join(differences)}); use the saved values, or "
            "--deltal.allow_changed_loss to continue with the new ones"
        )


def check_resumed_backend(args: Arguments, tag: str) -> None:
    """Raise ValueError if the other training backend saved the checkpoint."""
    folder = Path(args.ckpt.path, "_actor", tag)
    if not folder.is_dir():
        raise ValueError(
            f"{folder} is not there, though `latest` next to it names it; restore it, or name a complete checkpoint in `latest`"
        )
    saved = backends.saved_by(folder)
    if saved != args.backend:
        raise ValueError(
            f"checkpoint {tag} in --ckpt.path {args.ckpt.path} was saved with --backend {saved}, this run has --backend {args.backend}; "
            "use the saved one, or start from the exported model with another --ckpt.path"
        )
