"""The script that measures what docs/reference/checkpoints.md says of checksums."""

import re

from support.scripts import run_script


def test_it_measures_three_checksums_and_a_file():
    process = run_script("bench_checksums.py", "--mib", 1, "--repeats", 1, OMP_NUM_THREADS="1")
    assert process.returncode == 0, process.stderr
    rates = re.findall(r"^  (\w+) +([\d.]+) GB/s", process.stdout, re.MULTILINE)
    assert [name for name, _ in rates] == ["crc32", "sha256", "blake2b", "crc32"]
    assert all(float(rate) > 0 for _, rate in rates)
    assert "file of 1 MiB in the page cache, 1 chunk(s)" in process.stdout
