"""Measures the cost of ∆L: the time of ppo_train with it over the host's own token-mean, on a fixed buffer, in interleaved pairs.

    python scripts/bench_overhead.py [--pairs 100] [--json FILE]

deltal_openrlhf/verify/overhead.py says what is timed. The script prints the median ratio with a bootstrap 95 % interval. Exit 1 if the
median is above 1.01 or the interval's upper end above 1.02.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from deltal_openrlhf.parity import run_on_ranks
from deltal_openrlhf.runs.files import records, write_atomically
from deltal_openrlhf.verify.overhead import summarise, time_pairs

MEDIAN_LIMIT, UPPER_LIMIT = 1.01, 1.02


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100, help="interleaved pairs of ppo_train (default 100)")
    parser.add_argument("--json", type=Path, help="write the result there")
    options = parser.parse_args()
    if options.pairs < 3:
        parser.error(f"--pairs is {options.pairs}, allowed is 3 or more")
    limit = 60.0 + 20 * options.pairs
    summary = summarise(run_on_ranks(1, measure, options.pairs, limit, timeout=limit)[0])
    print(json.dumps(summary, indent=2))
    if options.json:
        write_atomically(options.json, records(summary, 1))
    return int(summary["median_ratio"] > MEDIAN_LIMIT or summary["interval_95"][1] > UPPER_LIMIT)


def measure(rank: int, pairs: int, seconds: float) -> dict:
    """As time_pairs, with a line every ten pairs."""
    begun = time.monotonic()

    def progress(done: int, pairs: int) -> None:
        if done % 10 == 0:
            left = (time.monotonic() - begun) / done * (pairs - done)
            print(f"{done}/{pairs} pairs, about {left:.0f} s left", flush=True)

    return time_pairs(rank, pairs, seconds, progress)


if __name__ == "__main__":
    sys.exit(main())
