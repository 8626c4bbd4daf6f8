"""Measures the cost of the checksums of checkpoints: CRC-32, sha256 and blake2b on one core, and the chunks of a file by a run's threads.

    python scripts/bench_checksums.py [--mib 1024] [--repeats 5]

The file is written first, so it is in the page cache and the disk is not measured. Each number is the fastest of the repeats. On one core
it is the CPU's time, with threads the clock's.
"""

import argparse
import hashlib
import os
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from deltal_openrlhf.host import checksums

MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024, help="size of the file in MiB (default 1024)")
    parser.add_argument("--repeats", type=int, default=5, help="(default 5)")
    args = parser.parse_args()
    block = os.urandom(min(args.mib, 256) * MIB)
    print(f"one core, {len(block) // MIB} MiB in memory")
    for name, function in (("crc32", zlib.crc32), ("sha256", hashlib.sha256), ("blake2b", hashlib.blake2b)):
        on_one = rate(lambda function=function: function(block), len(block), args.repeats, time.process_time)
        print(f"  {name:8} {on_one}")
    with tempfile.TemporaryDirectory() as folder:
        size = args.mib * MIB
        with open(Path(folder, "file"), "wb") as file:
            for start in range(0, size, len(block)):
                file.write(block[: size - start])
        parts = checksums.parts_of({"file": size})
        threads = min(checksums.THREADS, len(parts))
        print(f"file of {args.mib} MiB in the page cache, {len(parts)} chunk(s), {threads} thread(s)")
        by_threads = rate(lambda: checksums.of(Path(folder), parts), size, args.repeats, time.perf_counter)
        print(f"  crc32    {by_threads}")


def rate(function: Callable[[], object], size: int, repeats: int, clock: Callable[[], float]) -> str:
    seconds = []
    for _ in range(repeats):
        start = clock()
        function()
        seconds.append(clock() - start)
    return f"{size / min(seconds) / 1e9:.2f} GB/s ({min(seconds):.3f} s)"


if __name__ == "__main__":
    main()
