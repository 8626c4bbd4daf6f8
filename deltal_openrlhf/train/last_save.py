"""Whether a run that is told to stop may save in --ckpt.path, whatever --ckpt.save_steps is.

A run that saves nothing else there takes the folder's lock only now. From its start on, it would keep out runs that share the default
folder and save nothing either.
"""

from pathlib import Path
from typing import IO

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.train import disk


class LastSave:
    """Made by the driver before training begins."""

    def __init__(self, args: Arguments) -> None:
        self._args = args
        # Now, since the disk may not answer when the run is told to stop.
        self._may_be_shared = not (args.ckpt.disable_ds or disk.uses_checkpoints(args))
        self._lock: IO | None = None

    def forbidden(self) -> str | None:
        """Why the run must not save there; None where it may, and the folder is its own until this process ends."""
        if not self._may_be_shared:
            return None
        try:
            self._lock = disk.lock_one("--ckpt.path", Path(self._args.ckpt.path))
        except ValueError as error:
            return str(error)
        # Looked up under the lock: another run may have saved there after this one began.
        return disk.checkpoints_of_another_run(self._args)
