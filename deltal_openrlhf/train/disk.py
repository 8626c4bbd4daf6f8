"""Checks a run's folders before it starts: they can be written, they have room, and no other run uses them.

The file system reports the free space; it does not know quotas. The lock is a POSIX lock on a hidden file. The driver holds it until it
ends, in whatever way. The lock holds between machines if the file system passes locks on. NFS 4 and Lustre with flock do. NFS mounted with
`nolock` or `local_lock` does not.
"""

import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host import checkpoint_size
from deltal_openrlhf.host.whole_checkpoints import newest
from deltal_openrlhf.runs import journal, metrics_file
from deltal_openrlhf.runs.full_disk import existing, free, readable

LOCK = ".deltal-train.lock"


class _Need(NamedTuple):
    """The space that a folder needs.

    size: bytes. what: a name for the message. remedy: a way to need less.
    """

    flag: str
    folder: Path
    size: int
    what: str
    remedy: str


def check(args: Arguments) -> None:
    """Raise ValueError, in one line, for folders that cannot be written, are too small, or hold broken metrics."""
    for flag, folder in _folders(args):
        _try_writing(flag, folder)
    for name in (metrics_file.NAME, metrics_file.EVALS):
        metrics_file.read_metrics(Path(args.ckpt.output_dir, name))
    _check_space(list(_needs(args)))


def lock(args: Arguments) -> list[IO]:
    """Make the folders of the run and lock them. Until the files are closed, another run is refused (ValueError)."""
    folders = {path.resolve(): (flag, path) for flag, path in _folders(args)}
    return [lock_one(flag, folder) for flag, folder in folders.values()]


def lock_one(flag: str, folder: Path) -> IO:
    """Make a folder and lock it. Raises ValueError if it cannot be written, or if another run has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / LOCK, "a")
    except OSError as error:
        raise ValueError(f"{flag} {folder} cannot be written: {error.strerror}") from error
    journal.lock(file, f"{flag} {folder}: another run is writing there; wait for its end, or take another folder")
    return file


def uses_checkpoints(args: Arguments) -> bool:
    """Whether the run uses --ckpt.path from its start on. It does if it saves regularly, or resumes from there and saves when stopped."""
    resumes = args.ckpt.load_enable and os.access(existing(Path(args.ckpt.path)), os.W_OK)
    return _saves(args) or _keeps_best(args) or resumes


def last_save_fails(args: Arguments) -> str | None:
    """Why a run that does not save regularly could not save when it is told to stop. None if it could, and for all other runs."""
    if _saves(args) or _keeps_best(args) or args.ckpt.disable_ds:
        return None
    folder, size = Path(args.ckpt.path), checkpoint_size.checkpoint(args)
    try:
        _try_writing("--ckpt.path", folder)
        _check_space([_Need("--ckpt.path", folder, size or 0, "a checkpoint", "free some")])
    except ValueError as error:
        return str(error)
    return checkpoints_of_another_run(args)


def checkpoints_of_another_run(args: Arguments) -> str | None:
    """A message if --ckpt.path holds checkpoints and the run does not resume from them. A last save would delete them (--ckpt.max_num)."""
    tag = None if args.ckpt.load_enable else newest(Path(args.ckpt.path, "_actor"))
    return tag and f"--ckpt.path {args.ckpt.path} holds {tag} of another run; take another folder"


def _saves(args: Arguments) -> bool:
    return args.ckpt.save_steps > 0


def _keeps_best(args: Arguments) -> bool:
    return bool(args.eval.dataset) and args.eval.steps > 0 and args.ckpt.best_metric_key != "none"


def _folders(args: Arguments) -> list[tuple[str, Path]]:
    """The folders that the run writes to, with their flags."""
    folders = [("--ckpt.output_dir", Path(args.ckpt.output_dir))]
    if uses_checkpoints(args):
        folders.append(("--ckpt.path", Path(args.ckpt.path)))
    return folders


def _try_writing(flag: str, folder: Path) -> None:
    """Write a nameless file in the folder, or in the nearest existing one above it."""
    try:
        with tempfile.TemporaryFile(dir=existing(folder)) as file:
            file.write(b"0" * 4096)
            file.flush()
    except OSError as error:
        raise ValueError(f"{flag} {folder} cannot be written: {error.strerror}") from error


def _needs(args: Arguments) -> Iterator[_Need]:
    model, whole = checkpoint_size.exported(args), checkpoint_size.checkpoint(args)
    if model is None or whole is None:
        return
    yield _Need("--ckpt.output_dir", Path(args.ckpt.output_dir), model, "the trained model", "free some")
    best, folder = _keeps_best(args), Path(args.ckpt.path)
    if not (_saves(args) or best):
        return
    copies = (args.ckpt.max_num if _saves(args) else 0) + best + 1  # a new one is complete before an old one goes
    size = 0 if args.ckpt.disable_ds else copies * whole
    if args.ckpt.max_mem < math.inf:
        size = min(size, int(args.ckpt.max_mem * 2**30) + whole)
    size += model * bool(args.ckpt.save_hf)
    files = (path for name in ("_actor", "_critic") for path in (folder / name).rglob("*") if path.is_file())
    size = max(size - sum(path.stat().st_size for path in files), 0 if args.ckpt.disable_ds else whole)
    extra = ", and the best" if best else ""
    what = (
        f"{copies} checkpoints of {readable(whole)} (--ckpt.max_num {args.ckpt.max_num}, one while it is saved{extra})"
    )
    yield _Need("--ckpt.path", folder, size, what, "free some, or set --ckpt.max_num or --ckpt.max_mem")


def _check_space(needs: list[_Need]) -> None:
    """Check the free space. Folders on one file system share it."""
    for need in needs:
        device = existing(need.folder).stat().st_dev
        size = sum(other.size for other in needs if existing(other.folder).stat().st_dev == device)
        left = free(need.folder)
        if need.size > left or (need is needs[-1] and size > left):
            raise ValueError(
                f"{need.flag} {need.folder} has {readable(left)} free; {need.what} take about {readable(need.size)}; {need.remedy}"
            )
