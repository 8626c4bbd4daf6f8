"""`deltal verify`: mistakes in the code are noticed, a failure does not stop the rest, and neither Ray nor vLLM is needed."""

import json
import os
import subprocess
import sys
import time

import pytest
from support.planted_mistakes import MISTAKES, with_mistake

from deltal_openrlhf.cli import main as command
from deltal_openrlhf.cli import verify as cli
from deltal_openrlhf.modes import MODES
from deltal_openrlhf.parity import RankPool
from deltal_openrlhf.verify import gradients, guards, machine, run
from deltal_openrlhf.verify.cases import Block, run_blocks
from deltal_openrlhf.verify.outcome import Budget, Outcome, Report, measured

# What verify does not need cannot be found, in all its processes.
WITHOUT = """
from importlib.machinery import PathFinder

find_spec = PathFinder.find_spec

def find_others(name, path=None, target=None):
    return None if name.partition(".")[0] in ("ray", "vllm", "flash_attn") else find_spec(name, path, target)

PathFinder.find_spec = staticmethod(find_others)
"""


@pytest.fixture
def without(tmp_path) -> dict[str, str]:
    """The environment of a process that has none of them."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    return os.environ | {"PYTHONPATH": str(tmp_path)}


@pytest.mark.timeout(280)
def test_the_right_code_passes_and_needs_neither_ray_nor_vllm_nor_flash_attn(without, tmp_path):
    words = "verify --only gradients --seconds 1 --json found.jsonl".split()
    process = subprocess.run(
        [sys.executable, "-m", "deltal_openrlhf.cli.main", *words],
        cwd=tmp_path,
        env=without,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=250,
    )
    assert process.returncode == 0, process.stdout
    rows = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    judged = [row for row in rows if row["ok"] is not None]
    assert [row["case_fields"]["wrong"] for row in judged] == 2 * [None, "micro-batch", "scale"]
    assert all(row["ok"] and 0 < row["relative_error"] <= 1e-5 for row in judged if not row["case_fields"]["wrong"])
    assert sum("left out for lack of time" in row["said"] for row in rows) == 2


@pytest.mark.parametrize("package", ["ray", "vllm"])
def test_that_process_really_has_neither(without, package):
    process = subprocess.run([sys.executable, "-c", f"import {package}"], env=without, capture_output=True, text=True)
    assert f"No module named '{package}'" in process.stderr


@pytest.mark.timeout(280)
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_the_code_fails(name, monkeypatch, capsys):
    call = RankPool.call
    monkeypatch.setattr(
        RankPool,
        "call",
        lambda pool, function, *arguments, **how: call(pool, with_mistake, name, function, *arguments, **how),
    )
    code = command.main("verify --only gradients --seconds 1".split())
    said = capsys.readouterr().out
    assert code == 1, said
    failed = [line for line in said.splitlines() if " FAILED " in line]
    # The right cases of one and of two ranks, as many as there was time for; the controls are still as wrong as they should be.
    assert {"world=2" in line for line in failed} == {True, False} and not any("wrong=" in line for line in failed), (
        said
    )


# ── The parts in a row ──


@pytest.fixture
def parts(monkeypatch):
    """Three parts of which the second ends early."""

    def good(budget):
        with measured("good", "case") as outcome:
            outcome.ok, outcome.values = True, {"figure": 1.5}
        yield outcome

    def breaks(budget):
        yield Outcome("breaks", "first", ok=True)
        budget.console.write_text("what the ranks printed")
        raise RuntimeError("a long\nstory")

    def last(budget):
        with measured("last", "case"):
            raise ValueError("caught")
        yield Outcome("last", "reached", ok=None, said=f"{budget.left:.0f}")

    table = {"good": (good, 0.2), "breaks": (breaks, 0.4), "last": (last, 0.4)}
    monkeypatch.setattr(run, "PARTS", table)
    return table


def test_a_part_that_fails_does_not_stop_the_next(parts, tmp_path, capsys):
    path = tmp_path / "found.jsonl"
    report = run.verify(list(parts), 100, path)
    assert (len(report.passed), len(report.failed)) == (2, 1)
    versions, *rows = (json.loads(line) for line in path.read_text().splitlines())
    assert versions["case"] == "versions" and "torch" in versions["packages"]  # whatever parts run
    assert [(row["part"], row["ok"]) for row in rows] == [
        ("good", True),
        ("breaks", True),
        ("breaks", False),
        ("last", None),
    ]
    assert rows[0]["figure"] == 1.5
    assert rows[2]["said"] == "RuntimeError: story"
    assert rows[2]["console"] == "what the ranks printed"
    assert "FAILED" in capsys.readouterr().out.splitlines()[3]


def test_the_chosen_parts_share_the_time(parts, tmp_path):
    path = tmp_path / "found.jsonl"
    run.verify(["last"], 100, path)
    assert json.loads(path.read_text().splitlines()[-1])["said"] == "100"
    run.verify(["breaks", "last"], 100, path)
    assert json.loads(path.read_text().splitlines()[-1])["said"] == "100"  # the first one left all of it over


def test_the_exit_code_and_the_last_line(parts, monkeypatch, capsys):
    monkeypatch.setattr(cli, "PARTS", dict.fromkeys(parts, ""))
    assert command.main(["verify", "--only", "breaks"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 case(s) passed, 1 failed"
    assert command.main(["verify", "--only", "good"]) == 0
    assert command.main(["verify", "--only", "last"]) == 1  # which judges nothing
    assert capsys.readouterr().err == "deltal verify: no case was judged\n"


def test_the_help_names_every_part_that_there_is(capsys):
    assert list(cli.PARTS) == list(run.PARTS)
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    said = capsys.readouterr().out
    assert all(name in said for name in run.PARTS)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seconds", "0"], "--seconds is 0, allowed is a number above 0"),
        (["--seconds", "nan"], "--seconds is nan, allowed is a number above 0"),
        (["--only", "gradient"], "invalid choice: 'gradient'"),
        (["--json", "/nowhere/found.jsonl"], "there is no folder /nowhere"),
    ],
)
def test_bad_flags_end_at_once(flags, message, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(flags)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


# ── One part by itself ──


def test_every_case_comes_once_and_the_controls_early():
    for world in (1, 2):
        cases = gradients.cases_of(world)
        assert len(cases) == len(set(cases)) > 150
        assert [case.wrong for case in cases[:4]] == [None, "micro-batch", "scale", None]
        assert {case.mode for case in cases} == set(MODES)
        assert {case.zero for case in cases} == {0, 1, 2, 3}
    assert gradients.worlds(gpus=0) == gradients.worlds(gpus=1) == [1, 2]
    assert gradients.worlds(gpus=8) == [1, 2, 4, 8]


def test_guards_that_let_something_through_are_faults():
    good = {"moved": 0.1, "optimizer": ""}
    for kind in ("loss", "gradient"):
        good |= {f"{kind}_said": f"the {kind} is nan; {guards.STOPPED}", f"{kind}_moved": 0.0}
    assert guards.faults_of(good) == []
    assert guards.faults_of(good | {"moved": 0.0}) != []
    assert guards.faults_of(good | {"loss_said": "nothing"}) == ["a loss that is not finite was not noticed"]
    assert guards.faults_of(good | {"gradient_moved": 0.5}) != []


def boom(pool, case, outcome):
    if case == "timeout":
        pool.call(time.sleep, timeout=0.01)
    outcome.ok = case == "good"
    if case == "raises":
        raise ValueError("no")


@pytest.mark.parametrize(
    ("cases", "oks", "left"),
    [
        (["good", "bad", "good"], [True, False, True], None),
        (["raises", "raises", "good", "raises"], [False, False, True, False], None),
        (["raises"] * 5, [False] * 3, "2 of 5 cases left out after these failures"),
        (["good", "timeout", "good"], [True, False], "1 of 3 cases left out after these failures"),
    ],
)
def test_failures_in_a_row_end_a_block_and_say_what_is_left_out(cases, oks, left, tmp_path):
    budget = Budget(100, tmp_path / "log")
    outcomes = list(run_blocks("part", [Block("here", 1, cases, always=1)], boom, budget))
    assert [outcome.ok for outcome in outcomes] == oks + [None] * (left is not None)
    assert left is None or outcomes[-1].said == left


def test_ranks_that_cannot_talk_are_left_out_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr("deltal_openrlhf.verify.cases.gpus_to_use", lambda: 1)
    monkeypatch.setattr(machine, "talk", lambda world: machine.Talk(False, "RankTimeout"))
    budget = Budget(100, tmp_path / "log")
    (outcome,) = run_blocks("part", [Block("here", 2, ["good"] * 9, always=1)], boom, budget)
    assert outcome.ok is None and outcome.said == "all 9 cases left out: 2 ranks cannot talk (part machine)"


def test_what_json_has_not_becomes_a_word():
    row = json.loads(Outcome("part", "case", values={"figure": float("inf"), "list": [float("nan"), 1.0]}).as_json())
    assert row["figure"] == "inf" and row["list"] == ["nan", 1.0]


def test_a_budget_runs_out(tmp_path):
    budget = Budget(0.05, tmp_path / "log")
    assert 0 < budget.left <= 0.05
    time.sleep(0.06)
    assert budget.left == 0.0


def test_a_report_without_a_file(capsys):
    with Report(None) as report:
        report.add(Outcome("part", "case", ok=False, said="why", seconds=1.25))
    assert report.failed and capsys.readouterr().out == "part         FAILED     1.2 s  case: why\n"
