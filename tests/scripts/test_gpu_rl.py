"""scripts/gpu/rl.py: a part that fails, and flags that it refuses. Its whole dry run is in test_gpu_kit.py."""

import json

from support.scripts import run_script


def test_a_part_that_fails_does_not_stop_the_next(tmp_path):
    (tmp_path / "train.jsonl").mkdir()  # where the problems go
    done = run_script("gpu/rl.py", "--small", "--seconds", 3, "--work", tmp_path, "--json", tmp_path / "rl.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rl.jsonl").read_text().splitlines()]
    assert done.returncode == 1
    assert [row["ok"] for row in rows] == [False, True, False, False], rows


def test_flags_are_checked_first(tmp_path):
    for words, said in (
        ([], "give either --gguf FILE or --small"),
        (["--gguf", tmp_path / "no.gguf"], "no.gguf: not there"),
        (["--small", "--seconds", "0"], "--seconds is 0, allowed is above 0"),
    ):
        done = run_script("gpu/rl.py", "--work", tmp_path / "work", *words)
        assert done.returncode == 2 and said in done.stderr
    assert not (tmp_path / "work").exists()
