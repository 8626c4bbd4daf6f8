"""`deltal compare` with the loop, killed at random moments: the resumed comparison is the uninterrupted one, number for number."""

import json
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import commands
from support.loop_example import write_example

from deltal_openrlhf.comparison.run import COMPARISON

SCRIPT = Path(__file__).parents[1] / "support" / "compare_loop.py"
MOMENTS = 5


class Experiment:
    """Two methods on an untrained model; every start is the same command but for --out."""

    def __init__(self, folder: Path) -> None:
        flags = write_example(folder)
        start = flags.pop("actor.model_name_or_path")
        del flags["loss_agg"], flags["alpha"], flags["train.seed"]
        methods = {"∆L": {"loss_agg": "deltal", "alpha": 1.0}, "DAPO": {"loss_agg": "token-mean"}}
        given = {"engine": "loop", "starts": [start], "seeds": [0], "flags": flags, "methods": methods}
        self.file, self.log = folder / "compare.yaml", folder / "log"
        self.file.write_text(yaml.safe_dump(given))

    def start(self, out: Path) -> subprocess.Popen:
        with open(self.log, "a") as log:
            words = [sys.executable, str(SCRIPT), str(self.file), "--out", str(out), "--workers", "2"]
            return commands.Popen(words, stdout=log, stderr=log)


def numbers(value: Any) -> Any:
    """comparison.json without what a run took."""
    if isinstance(value, list):
        return [numbers(entry) for entry in value]
    if isinstance(value, dict):
        return {k: numbers(v) for k, v in value.items() if k != "command" and "seconds" not in k}
    return value


def numbers_of(out: Path) -> Any:
    return numbers(json.loads((out / COMPARISON).read_text()))


@pytest.mark.timeout(300)
def test_killed_at_random_moments_it_ends_with_the_same_numbers(tmp_path):
    experiment = Experiment(tmp_path)
    process = experiment.start(tmp_path / "whole")  # which waits for the server of processes
    begun = time.monotonic()
    assert process.wait(100) == 0, experiment.log.read_text()
    took = time.monotonic() - begun
    whole = numbers_of(tmp_path / "whole")
    assert [method["runs"] for method in whole["arms"][0]["methods"]] == [1, 1]
    rng, codes = random.Random(0), []
    for moment in range(MOMENTS):
        out = tmp_path / str(moment)
        process = experiment.start(out)
        with suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0, took))
        process.kill()
        codes.append(process.wait(10))
        assert experiment.start(out).wait(100) == 0, experiment.log.read_text()
        assert numbers_of(out) == whole
    assert codes.count(-signal.SIGKILL) > 1, codes
