"""What a checkpoint says about the run that saved it, and what a resumed run has to share with it. It is read before Ray starts, without
torch.

run.json holds:

    optimizer  flags whose change --deltal.allow_changed_optimizer allows (optimizer_flags.py)
    data       the rows that the run trains on (data_fingerprint.py)
    length     flags that determine the number of optimizer steps; they may change, and the schedule with them
    fixed      what determines the shape of the files, by the training backend (backends.py): ranks, ZeRO stage, ...
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deltal_openrlhf import cpu
from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.backends import Backend
from deltal_openrlhf.host import finished
from deltal_openrlhf.host.data_fingerprint import check_resumed_data
from deltal_openrlhf.host.optimizer_flags import check_resumed_optimizer, optimizer_flags
from deltal_openrlhf.host.saved_average import check_resumed_average

FILE = "run.json"


def saved_run(args: Arguments, backend: Backend) -> dict[str, Any]:
    """The content of the file."""
    data = args.deltal.data and list(args.deltal.data)  # client states are read without pickle
    return {"optimizer": optimizer_flags(args), "data": data, "fixed": backend.fixed(args), "length": _length(args)}


def check_resumed_run(args: Arguments, backend: Backend, tag: str) -> None:
    """Raise ValueError, in one line, if this run cannot continue the checkpoint of this tag, or would not train as its flags say.

    An earlier version saved a checkpoint without the file. Then the flags of the command line hold.
    """
    folder = Path(args.ckpt.path, "_actor", tag)
    check_resumed_average(args, folder)
    try:
        saved = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    _check_fixed(backend.fixed(args), saved["fixed"], folder)
    check_resumed_data(args.deltal.data, saved.get("data"), tag)
    if not args.deltal.allow_changed_optimizer:
        check_resumed_optimizer(args, saved["optimizer"], tag)


def changed_length(args: Arguments, tag: str) -> list[str]:
    """The flags that give the run another length than when it was saved, such as "--train.num_episodes 1 to 2"."""
    try:
        saved = json.loads(Path(args.ckpt.path, "_actor", tag, FILE).read_text(encoding="utf-8"))["length"]
    except FileNotFoundError:
        return []
    return [
        f"--{flag} {saved[flag]} to {now}"
        for flag, now in _length(args).items()
        if flag in saved and saved[flag] != now
    ]


def _length(args: Arguments) -> dict[str, Any]:
    return {flag: cpu.lookup(args, flag) for flag in finished.LENGTH}


def _check_fixed(now: Mapping[str, Any], saved: Mapping[str, Any], folder: Path) -> None:
    for name, value in now.items():
        if name in saved and saved[name] != value:
            raise ValueError(
                f"{name} is {value}, but checkpoint {folder} was saved with {saved[name]} and cannot be loaded with another; use the saved "
                "value, or start from the exported model with another --ckpt.path"
            )
