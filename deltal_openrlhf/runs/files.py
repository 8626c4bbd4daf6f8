"""Files that are either whole or not there."""

import os
from collections.abc import Mapping
from pathlib import Path


def write_atomically(path: str | os.PathLike, text: str) -> None:
    """Write text to `path`. A kill or a full disk at any moment leaves the old file or none, never a part. Makes the folder."""
    write_all_atomically({Path(path): text.encode("utf-8")})


def write_all_atomically(contents: Mapping[Path, bytes]) -> None:
    """Write several files. None gets its name before all are on the disk: what fails before that leaves every old file as it was."""
    beside = {path: path.with_name(f"{path.name}.{os.getpid()}.tmp") for path in contents}
    for path in contents:
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        for path, content in contents.items():
            with open(beside[path], "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path in contents:
            os.replace(beside[path], path)
    finally:
        for path in beside.values():
            path.unlink(missing_ok=True)
