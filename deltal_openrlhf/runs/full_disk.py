"""Reports a full disk: the path, the space that was needed, and the free space. Libraries report it in many ways, most of them without a
path.
"""

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
    """A size such as "40.1 GiB" or "3.2 MiB"."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.1f} MiB"


def existing(path: Path) -> Path:
    """The path itself, or the nearest existing folder above it."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def free(path: Path) -> int:
    """The bytes that a user may still write at a path, which need not exist. Quotas are not known."""
    return shutil.disk_usage(existing(path)).free


@contextmanager
def named_if_full(path: Path, what: str, needed: Callable[[], int | None]) -> Iterator[None]:
    """Inside this context, an error because the disk is full becomes an OSError in one line that names the path.

    what: the thing that is written, such as "checkpoint global_step8". needed: its bytes, None if unknown.
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
