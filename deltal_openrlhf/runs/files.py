"""Writes files that are either whole or absent."""

import json
import os
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def named(path: str | os.PathLike) -> Iterator[None]:
    """Inside this context, errors of the system name the path. Those of a write ("No space left on device") do not by themselves."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


def write_atomically(path: str | os.PathLike, text: str) -> None:
    """Write text to `path`. A kill or a full disk at any moment leaves the old file or none, never a part. Makes the folder."""
    write_all_atomically({Path(path): text.encode("utf-8")})


def write_all_atomically(contents: Mapping[Path, bytes | Callable[[IO[bytes]], None]]) -> None:
    """Write several files from bytes, or from a function that writes into the open file.

    No file gets its name before all are on the disk. A failure before that leaves every old file unchanged.
    """
    beside = {path: path.with_name(f"{path.name}.{os.getpid()}.tmp") for path in contents}
    for path in contents:
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        for path, content in contents.items():
            with named(path), open(beside[path], "wb") as file:
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    content(file)
                file.flush()
                os.fsync(file.fileno())
        for path in contents:
            os.replace(beside[path], path)
    finally:
        for path in beside.values():
            path.unlink(missing_ok=True)


def records(value: Any, depth: int) -> str:
    """JSON text with one entry per line: what lies `depth` levels deep is a line. Ends with a newline.

    records([{"a": 1}, {"a": 2}], 1) has a line for each of the two mappings.
    """
    return _opened(value, depth) + "\n"


def _opened(value: Any, depth: int) -> str:
    if depth == 0 or not value or not isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        parts = [f"{_opened(key, 0)}: {_opened(inner, depth - 1)}" for key, inner in value.items()]
        return "{\n" + textwrap.indent(",\n".join(parts), " ") + "\n}"
    return "[\n" + textwrap.indent(",\n".join(_opened(inner, depth - 1) for inner in value), " ") + "\n]"
