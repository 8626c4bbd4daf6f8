"""What a run that is told to stop leaves: its last save, in --ckpt.path, whatever --ckpt.save_steps is.

A run that saves nothing else there takes the folder's lock only now. From its start on, it would keep out runs that share the default
folder and save nothing either.
"""

from pathlib import Path
from typing import IO

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host.whole_checkpoints import newest
from deltal_openrlhf.train import disk


class LastSave:
    """Made by the driver before training begins."""

    def __init__(self, args: Arguments) -> None:
        self._args = args
        self._folder = Path(args.ckpt.path, "_actor")
        self._before = newest(self._folder)
        self._of_another = disk.checkpoints_of_another_run(args)
        self._lock: IO | None = None

    def forbidden(self) -> str | None:
        """Lock the folder. Why the run must not save there; None where it may."""
        if self._args.ckpt.disable_ds or disk.uses_checkpoints(self._args):
            return None
        if self._of_another:
            return self._of_another
        try:
            self._lock = disk.lock_one("--ckpt.path", Path(self._args.ckpt.path))  # until this process ends
        except ValueError as error:
            return str(error)
        return None

    def saved(self) -> str | None:
        """The newest checkpoint of this run, None where it has saved none."""
        tag = newest(self._folder)
        return None if tag == self._before else tag
