"""`deltal eval` with a made-up engine, killed at random moments: the resumed evaluation is the uninterrupted one, byte for byte."""

import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from support import commands

from deltal_openrlhf.evaluation.store import RESPONSES

SCRIPT = Path(__file__).parents[1] / "support" / "eval_engine.py"
N, TOTAL = 4, 640


def lines(out: Path) -> list[str]:
    """The responses, in an order of their own."""
    return sorted((out / RESPONSES).read_text().splitlines())


@pytest.mark.timeout(200)
def test_killed_at_random_moments_it_ends_with_the_same_numbers(model, data, tmp_path):
    log = tmp_path / "log"

    def start(out: Path) -> subprocess.Popen:
        words = [sys.executable, str(SCRIPT), "--model", str(model), "--data", str(data), "--out", str(out)]
        with open(log, "a") as file:
            return commands.Popen([*words, "--n", str(N), "--max_new_tokens", "64"], stdout=file, stderr=file)

    process = start(tmp_path / "whole")  # which waits for the server of processes
    begun = time.monotonic()
    assert process.wait(100) == 0, log.read_text()
    took = time.monotonic() - begun
    assert len(lines(tmp_path / "whole")) == TOTAL
    rng, codes = random.Random(0), []
    for moment in range(5):
        out = tmp_path / str(moment)
        process = start(out)
        with suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0, took))
        process.kill()
        codes.append(process.wait(10))
        assert start(out).wait(100) == 0, log.read_text()
        assert lines(out) == lines(tmp_path / "whole")
        for name in ("results.json", "report.md", "samples.md"):
            assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert codes.count(-signal.SIGKILL) > 1, codes
