"""No space left: which path, how much was needed, and how much is free. Libraries say it in many ways, most of them without a path."""

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
_WORDS = ("No space left on device", "Disk quota exceeded")
_TORCH = ("PytorchStreamWriter failed", "inline_container.cc")
"""What torch's writer says of any failed write."""
NEARLY_NONE = 64 * 2**20


def readable(size: float) -> str:
    """As in "40.1 GiB", "3.2 MiB"."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.1f} MiB"


def existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def free(path: Path) -> int:
    """Bytes that a user may still write at a path, which need not be there. Quotas are not known."""
    return shutil.disk_usage(existing(path)).free


@contextmanager
def named_if_full(path: Path, what: str, needed: Callable[[], int | None]) -> Iterator[None]:
    """Inside, an error because the disk is full becomes an OSError in one line that names the path.

    what: is being written, "checkpoint global_step8". needed: its bytes, None if not known.
    """
    try:
        yield
    except Exception as error:
        left = free(path)
        if not _is_full(error, lambda: left < max(needed() or 0, NEARLY_NONE)):
            raise
        size = needed()
        about = f"{what} needs about {readable(size)}, " if size else f"while {what} was written; "
        raise OSError(errno.ENOSPC, f"no space left in {path}: {about}{readable(left)} are free") from error


def _is_full(error: BaseException | None, little_is_left: Callable[[], bool]) -> bool:
    while error is not None:
        text = str(error)
        if (isinstance(error, OSError) and error.errno in FULL) or any(words in text for words in _WORDS):
            return True
        if any(words in text for words in _TORCH) and little_is_left():
            return True
        error = error.__cause__ or error.__context__
    return False
