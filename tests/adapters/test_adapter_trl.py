"""TRL's own trainer with our adapter, in an environment that the script makes, on two ranks: its gradients are those of brute force."""

import json

import pytest
from support.scripts import run_script


@pytest.mark.timeout(290)
def test_its_gradients_are_those_of_brute_force_and_a_planted_mistake_is_noticed(tmp_path):
    words = ["--trainer", "trl", "--out", tmp_path, "--cases", "few", "--ranks", "2"]
    ended = run_script("adapter_check.py", *words, timeout=280)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1] == "5 case(s) as they should be, 0 not"
    cases = json.loads((tmp_path / "trl.json").read_text())["cases"]
    assert {case["ranks"] for case in cases} == {2} and {case["micro_batches"] for case in cases} == {1, 2, 4}
    right = [case for case in cases if not case["wrong"]]
    assert {case["case"] for case in right} == {"deltal", "balanced"}
    assert all(0 < case["relative_difference"] <= 1e-6 for case in right)
    assert [case["relative_difference"] > 1e-3 for case in cases if case["wrong"]] == [True]
    assert all(case["furthest_ratio"] > 1.2 for case in cases)  # so the second step of a rollout was clipped


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trainer", "slime"], "--source is None, allowed with --trainer slime is the path of a clone"),
        (["--trainer", "slime", "--source", "."], "--source is ., allowed with --trainer slime is the path of a clone"),
        (["--trainer", "trl", "--source", "/"], "--source is /, allowed with --trainer trl is none"),
    ],
)
def test_a_source_belongs_to_slime(tmp_path, words, message):
    ended = run_script("adapter_check.py", *words, "--out", tmp_path / "out")
    assert ended.returncode == 2 and ended.stderr.endswith(f"error: {message}\n") and ended.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
