"""Decides whether a run that is told to stop may save to --ckpt.path, whatever --ckpt.save_steps is.

A run that saves nothing else there takes the folder's lock only at that moment. If it took the lock at its start, it would keep out other
runs that share the default folder and save nothing either.
"""

from pathlib import Path
from typing import IO

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.train import disk


class LastSave:
    """The decision about the last save. The driver makes it before training begins."""

    def __init__(self, args: Arguments) -> None:
        self._args = args
        # Now, since the disk may not answer when the run is told to stop.
        self._may_be_shared = not (args.ckpt.disable_ds or disk.uses_checkpoints(args))
        self._lock: IO | None = None

    def forbidden(self) -> str | None:
        """Why the run must not save there. None if it may; then the folder belongs to it until this process ends."""
        if not self._may_be_shared:
            return None
        try:
            self._lock = disk.lock_one("--ckpt.path", Path(self._args.ckpt.path))
        except ValueError as error:
            return str(error)
        # Looked up under the lock: another run may have saved there after this one began.
        return disk.checkpoints_of_another_run(self._args)
