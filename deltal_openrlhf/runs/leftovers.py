"""Removes what killed processes of a run leave: semaphores and shared memory in /dev/shm, sockets and files in the temporary folder.

The driver makes a Leftovers. All processes of the run know its folder (FOLDER in their environment) and call mark(). This gives semaphores
and shared memory of multiprocessing a name that begins with the folder's, and puts vLLM's sockets into it. So remove() finds this run's own
and nothing else. A killed driver leaves the folder, and the next one on this machine removes it.

On other machines of a cluster mark() finds no folder and changes nothing.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from multiprocessing import process, shared_memory
from pathlib import Path
from typing import IO

FOLDER = "DELTAL_RUN_FOLDER"
SHARED_MEMORY = Path("/dev/shm")
_PREFIX, _LOCK = "deltal-run-", "lock"
_LONGEST = 60
"""Characters of the folder: a socket's path may have 107, and vLLM adds 37."""


class Leftovers:
    """The leftovers of one run. The driver makes it before it starts other processes. It removes what earlier, killed drivers left."""

    def __init__(self) -> None:
        parent = tempfile.gettempdir()
        parent = parent if len(parent) + len(_PREFIX) + 9 <= _LONGEST else "/tmp"
        for earlier in _dead(Path(parent)):
            _remove(earlier)
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        self._lock = open(self.folder / _LOCK, "w")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def variables(self) -> dict[str, str]:
        """For the environment of the run's processes."""
        return {FOLDER: str(self.folder)}

    def remove(self) -> None:
        """Once all processes of the run have ended."""
        _remove(self.folder)
        self._lock.close()


def mark(temporary_files: bool) -> None:
    """Called in each process of a run. temporary_files: into the run's folder, for a process in which no code of the user runs."""
    folder = os.environ.get(FOLDER)
    if not folder or not os.path.isdir(folder):
        return
    name = os.path.basename(folder)
    # Names that multiprocessing would draw; its child processes inherit the first one.
    process.current_process()._config["semprefix"] = f"/mp-{name}"  # type: ignore[attr-defined]
    shared_memory._SHM_NAME_PREFIX = f"/psm_{name}_"  # type: ignore[attr-defined]
    shared_memory._SHM_SAFE_NAME_LENGTH = len(shared_memory._SHM_NAME_PREFIX) + 8  # type: ignore[attr-defined]
    os.environ.setdefault("VLLM_RPC_BASE_PATH", folder)
    if temporary_files:
        # What is compiled once stays where the next run finds it.
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/torchinductor_{os.getuid()}")
        tempfile.tempdir = folder


def _dead(parent: Path) -> Iterator[Path]:
    """Folders of this user's drivers that are gone: nobody holds their locks."""
    for lock in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        try:
            if lock.stat().st_uid != os.getuid():
                continue
            with open(lock, "a") as file:
                if _is_free(file):
                    yield lock.parent
        except OSError:  # another driver was faster
            continue


def _is_free(file: IO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove(folder: Path) -> None:
    for pattern in (f"sem.mp-{folder.name}-*", f"psm_{folder.name}_*"):
        for path in SHARED_MEMORY.glob(pattern):
            path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
