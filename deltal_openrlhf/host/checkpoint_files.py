"""Checkpoints on the disk that survive a kill. A new one is written to a separate folder and moved into place when it is whole. Only then
are old ones deleted.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from deltal_openrlhf.host.whole_checkpoints import step_of

STAGING = ".saving"
_DELETED = ".deleted"


def begin(folder: Path) -> None:
    """Prepare a save: make an empty STAGING and remove what a killed save left."""
    give_up(folder)
    _empty(folder)
    (folder / STAGING).mkdir(parents=True, exist_ok=True)


def give_up(folder: Path) -> None:
    """Remove the unfinished checkpoint."""
    shutil.rmtree(folder / STAGING, ignore_errors=True)


def publish(folder: Path, tag: str) -> None:
    """Move the finished checkpoint into place, once all of it is on the disk. It replaces one with the same tag."""
    staging, final = folder / STAGING, folder / tag
    sync(staging / tag)
    if final.is_dir():
        _set_aside(final)
    os.replace(staging / tag, final)
    for path in staging.iterdir():  # DeepSpeed's zero_to_fp32.py
        os.replace(path, folder / path.name)
    shutil.rmtree(staging, ignore_errors=True)
    sync_one(folder)
    _empty(folder)


def old_ones(
    folder: Path, newest: str, max_num: int, max_gib: float, metric_of: Callable[[Path], float | None]
) -> Iterator[Path]:
    """Yield the checkpoints to delete by the host's rule, one at a time. The caller deletes each before it asks for the next.

    The newest one stays. So does the best one, which does not count towards max_num; a newer best one replaces it. The others are deleted
    in this order: those of later steps than the newest, because the run fell back behind them; those without a metric; the worst; the
    oldest.
    """
    there = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    best = [path for path in there if path.name.startswith("best")]
    if newest.startswith("best"):
        yield from (path for path in best if path.name != newest)

    last = step_of(newest)

    def value(path: Path) -> tuple[bool, bool, float, float]:
        metric, step = metric_of(path), step_of(path.name)
        later = last is not None and step is not None and step > last
        return not later, metric is not None, metric or 0.0, path.stat().st_mtime

    others = sorted((path for path in there if path not in best and path.name != newest), key=value)
    kept = len(others) + (not newest.startswith("best"))
    while others and (kept > max_num or _size(folder) > max_gib * 1024**3):
        yield others.pop(0)
        kept -= 1


def delete(checkpoint: Path) -> None:
    """Remove a checkpoint. After a kill it either exists or not. Raises FileNotFoundError if another process is removing it."""
    shutil.rmtree(_set_aside(checkpoint))


def sync(folder: Path) -> None:
    """Wait until everything in the folder is on the disk."""
    for path, _, files in os.walk(folder):
        for name in files:
            sync_one(os.path.join(path, name))
        sync_one(path)


def sync_one(path: str | Path) -> None:
    """Wait until the file, or the names in the folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _set_aside(checkpoint: Path) -> Path:
    """Rename the checkpoint, in one step, to the name of one that is being deleted."""
    aside = checkpoint.with_name(f"{_DELETED}_{checkpoint.name}")
    os.replace(checkpoint, aside)
    return aside


def _empty(folder: Path) -> None:
    """Remove what is waiting for deletion."""
    for left in folder.glob(f"{_DELETED}*"):
        shutil.rmtree(left, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
