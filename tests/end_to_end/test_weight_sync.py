"""A real vLLM engine has the same weights, bit for bit, whether they came in buckets or by the host's call a tensor."""

import json

import pytest
from support.scripts import run_script


@pytest.mark.cpu_build
@pytest.mark.timeout(400)
def test_both_ways_leave_the_same_weights_in_the_engine(tmp_path):
    """The script sets them to zero before each sync, and counts a sync that changes nothing as different."""
    file = tmp_path / "sync.json"
    ended = run_script("bench_weight_sync.py", "--rounds", 1, "--models", "tiny", "--json", file, timeout=380)
    assert ended.returncode == 0, ended.stderr[-3000:]
    [result] = json.loads(file.read_text())
    assert result["same_weights"] is True
    assert result["tensors"] == 30 and result["parameters"] > 100_000
