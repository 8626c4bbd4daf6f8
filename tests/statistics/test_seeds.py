"""Seeds of parts: all different, and the same in every process."""

import os
import subprocess
import sys
from collections import Counter

from deltal_openrlhf.statistics.seeds import seed_of


def test_seeds_are_different_for_every_response_and_stable():
    seeds = Counter(
        seed_of(seed, name, position, sample)
        for seed in (0, 1)
        for name in ("a", "b", "a1")
        for position in range(20)
        for sample in range(12)
    )
    assert len(seeds) == 2 * 3 * 20 * 12 and max(seeds) < 2**63 and min(seeds) >= 0
    code = "from deltal_openrlhf.statistics.seeds import seed_of; print(seed_of(1, 'a', 2, 3))"
    env = {**os.environ, "PYTHONHASHSEED": "7"}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=env)
    assert int(out.stdout) == seed_of(1, "a", 2, 3) == 1725631856695994336, out.stderr
    assert len({seed_of(1, 23), seed_of(12, 3), seed_of(1, 2, 3), seed_of(123)}) == 4
