"""Checksums of a checkpoint's files. They reveal a flipped bit or a missing end before the checkpoint is trained on.

    checksums.write(folder, sizes, checksums.of(folder, parts))     # after the files, before the checkpoint gets its name
    fault = checksums.fault(folder)                                 # "FILE: its checksum differs", None for a whole one

CRC-32 guards against disk faults, not tampering. It is several times faster than sha256 (scripts/bench_checksums.py) and finds every burst
of up to 32 bits. It covers chunks shorter than its period, so any two flipped bits in a chunk are found too. Of all other damage, one in
2^32 is missed. Chunks also let threads and ranks share one large file.
"""

import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from deltal_openrlhf.runs.files import write_atomically
from deltal_openrlhf.runs.progress import Progress

NAME = "checksums.json"
LABEL = "checksums"
LONG = 5.0
"""Seconds of a comparison after which it says how far it is."""
CHUNK = 2**28
THREADS = min(8, len(os.sched_getaffinity(0)))
_BLOCK = 2**22
_MIB = 2**20


class Part(NamedTuple):
    """One chunk of a file. number: from 0."""

    file: str
    number: int


def sizes_in(folder: Path) -> dict[str, int]:
    """The bytes of every file in the folder, by its path inside."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != NAME)
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in found}


def parts_of(sizes: Mapping[str, int]) -> list[Part]:
    """All chunks of files of these sizes. An empty file has one."""
    return [Part(file, number) for file, size in sizes.items() for number in range(max(1, -(-size // CHUNK)))]


def of(folder: Path, parts: Sequence[Part], done: Callable[[int], None] = lambda number: None) -> dict[Part, int]:
    """The checksum of each part, computed by several threads (zlib releases the interpreter). done: called with the number of finished
    parts.
    """
    sums = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for part, value in zip(parts, pool.map(partial(_checksum, folder), parts), strict=True):
            sums[part] = value
            done(len(sums))
    return sums


def write(folder: Path, sizes: Mapping[str, int], sums: Mapping[Part, int]) -> None:
    """Write checksums.json into the folder. sums: those of all parts of the files."""
    files = {
        file: {"bytes": size, "crc32": [f"{sums[part]:08x}" for part in parts_of({file: size})]}
        for file, size in sizes.items()
    }
    write_atomically(folder / NAME, json.dumps({"chunk": CHUNK, "files": files}, indent=1))


def are_in(folder: Path) -> bool:
    """Whether the folder has checksums. Checkpoints of the stock host and of older versions have none."""
    return (folder / NAME).exists()


def fault(folder: Path, rank: int = 0, ranks: int = 1, label: str = LABEL) -> str | None:
    """What is wrong with the checkpoint in the folder, in a few words with the file. None if it is whole.

    Each of `ranks` ranks checks its share; the checkpoint is whole if none finds a fault. In a long check, rank 0 prints its progress, in a
    line that begins with the label. Without checksums only a missing end is found.
    """
    if not folder.is_dir():
        return "it is not there"
    if not are_in(folder):
        torn = (path.name for path in sorted(folder.glob("*.pt")) if not zipfile.is_zipfile(path))
        return next((f"{name}: cut short" for name in torn), None)
    try:
        wanted = json.loads((folder / NAME).read_text(encoding="utf-8"))["files"]
        sizes = {file: entry["bytes"] for file, entry in wanted.items()}
        parts = parts_of(sizes)[rank::ranks]
        sums = {part: int(wanted[part.file]["crc32"][part.number], 16) for part in parts}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return f"{NAME}: broken"
    for file in dict.fromkeys(part.file for part in parts):
        try:
            size = (folder / file).stat().st_size
        except OSError:
            return f"{file}: missing"
        if size != sizes[file]:
            return f"{file}: {size} bytes, was saved with {sizes[file]}"
    read = [0, *accumulate(min(CHUNK, sizes[part.file] - part.number * CHUNK) for part in parts)]
    mib = [-(-size // _MIB) for size in read]
    try:
        if rank == 0:
            with Progress(f"{label} of {folder}", "MiB", mib[-1], after=LONG) as progress:
                found = of(folder, parts, lambda number: progress.update(mib[number]))
        else:
            found = of(folder, parts)
    except OSError as error:
        return f"{Path(error.filename or folder).name}: cannot be read ({error.strerror})"
    return next((f"{part.file}: its checksum differs" for part in parts if found[part] != sums[part]), None)


def _checksum(folder: Path, part: Part) -> int:
    total, left = 0, CHUNK
    with open(folder / part.file, "rb") as file:
        file.seek(part.number * CHUNK)
        while block := file.read(min(_BLOCK, left)):
            total = zlib.crc32(block, total)
            left -= len(block)
    return total
