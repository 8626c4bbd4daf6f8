"""`deltal compare` with made-up training runs (compare_engine.py): the real command, its worker processes, kills and resumes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import yaml

from deltal_openrlhf.cli.compare import _default_workers
from deltal_openrlhf.comparison.run import seconds_left
from deltal_openrlhf.comparison.state import RESULT

TESTS = Path(__file__).parents[1] / "support"
LIMIT = 60
"""Seconds that a command may take."""


class Experiment:
    """A file, starts and an output folder."""

    def __init__(self, folder: Path) -> None:
        self.out, self.file, self.log = folder / "out", folder / "compare.yaml", folder / "log"
        self.hurry = folder / "hurry"
        self.started: list[subprocess.Popen] = []
        for name in ("s0", "s1"):
            (folder / name).mkdir()
            (folder / name / "config.json").write_text(f'{{"name": "{name}"}}')
        self.given = {
            "starts": [str(folder / "s0"), str(folder / "s1")],
            "seeds": [0, 1],
            "flags": {"actor.adam.lr": 1.0, "fake.log": str(self.log), "fake.hurry": str(self.hurry)},
            "methods": {"a": {"fake": {"gain": 0.0}}, "b": {"fake.gain": 0.05}, "c": {"fake.gain": 0.2}},
            "families": {"left": ["a", "b"], "right": ["c"]},
        }

    def command(self, *flags: str, engine: str = "run") -> list[str]:
        self.file.write_text(yaml.safe_dump(self.given, sort_keys=False))
        # The workers and the noise of the runs must not depend on this process.
        script = str(TESTS / "compare_engine.py")
        return [sys.executable, script, engine, str(self.file), "--out", str(self.out), *flags]

    def run(self, *flags: str) -> subprocess.CompletedProcess:
        return subprocess.run(self.command(*flags), capture_output=True, text=True, timeout=LIMIT, env=environment())

    def start(self, *flags: str, engine: str = "run") -> subprocess.Popen:
        """In a session of its own, as a shell does it: Ctrl-C is a signal to the whole group."""
        process = subprocess.Popen(
            self.command(*flags, engine=engine),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def events(self, event: str) -> list[str]:
        """Names of the runs, in the order of the event."""
        if not self.log.exists():
            return []
        rows = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [str(Path(row["folder"]).relative_to(self.out)) for row in rows if row["event"] == event]

    def comparison(self) -> dict:
        return json.loads((self.out / "comparison.json").read_text())

    def results(self) -> dict[str, str]:
        return {str(path.parent.relative_to(self.out)): path.read_text() for path in self.out.rglob(RESULT)}


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(TESTS), "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}


def until(condition, what: str) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=5)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def experiment(tmp_path):
    experiment = Experiment(tmp_path)
    yield experiment
    for process in experiment.started:
        process.kill()
        process.wait()


def test_a_whole_comparison(experiment):
    experiment.given["learning_rate"] = {"choices": [4, 1.5, 0.5], "seeds": [8, 9]}
    experiment.given["arms"] = {
        "one": {},
        "two": {"flags": {"actor.max_norm": 0.1}, "methods": ["c", "a"], "seeds": [3]},
    }
    done = experiment.run("--workers", "2")
    assert (done.returncode, done.stderr) == (0, "")
    # Per arm: 2 families x 3 rates x 2 seeds from the first start; then methods x starts x seeds.
    begun = experiment.events("begin")
    assert len(begun) == len(set(begun)) == (12 + 3 * 2 * 2) + (12 + 2 * 2 * 1)
    assert "[40/40] " in done.stdout and ", about 0:00:0" in done.stdout.split("[39/40] ")[0]
    rates = [name for name in begun if name.startswith("learning_rates/one/left/")]
    assert sorted(rates) == sorted(
        f"learning_rates/one/left/lr{r}/s0/seed{s}" for r in ("0.5", "1.5", "4") for s in (8, 9)
    )
    # No run of a family before the last of its trials has ended.
    lines = [json.loads(line) for line in experiment.log.read_text().splitlines()]
    order = [(str(Path(row["folder"]).relative_to(experiment.out)), row["event"]) for row in lines]
    first = min(order.index((f"runs/one/{s}/{m}/seed{k}", "begin")) for s in ("s0", "s1") for m in "ab" for k in (0, 1))
    assert first > max(order.index((name, "end")) for name in rates)

    found = experiment.comparison()
    one, two = found["arms"]
    assert (one["steps"], one["final_from"], one["final_step"]) == (10, "held_out", 10)
    assert found["unfinished"] == [] and found["starts"] == ["s0", "s1"]
    # 1.5 is nearest to the best rate, 2; it is in the middle of those tried.
    assert [(row["lr"], row["chosen"]) for row in one["learning_rates"][:3]] == [
        (0.5, False),
        (1.5, True),
        (4.0, False),
    ]
    assert one["warnings"] == []
    of_rates = [json.loads(r) for name, r in experiment.results().items() if name.startswith("learning_rates/one/")]
    assert len(of_rates) == 12
    assert one["cpu_seconds_of_rates"] == pytest.approx(sum(result["cpu_seconds"] for result in of_rates))
    settings = json.loads((experiment.out / "runs/two/s1/c/seed3/settings.json").read_text())
    assert settings["flags"]["actor.adam.lr"] == 1.5 and settings["flags"]["actor.max_norm"] == 0.1
    assert [method["runs"] for method in one["methods"]] == [4, 4, 4]
    assert [method["name"] for method in two["methods"]] == ["a", "c"]
    # The methods share all noise, so a pair differs by the planted gain exactly: half of it in the held-out accuracy.
    pair = next(p for p in one["pairs"] if (p["a"], p["b"], p["metric"]) == ("a", "b", "final"))
    assert pair["difference"]["value"] == pytest.approx(0.025) and (pair["n"], pair["wins"]) == (4, 4)
    # Flips are of seeds, which both starts share.
    assert (pair["seeds"], pair["p"], pair["comparisons"]) == (2, 2 / 2**2, 3)
    family = next(p for p in one["families"] if p["metric"] == "auc")
    assert family["difference"]["value"] == pytest.approx(0.2 - 0.025)
    assert one["methods"][0]["curves"]["accuracy"]["step"] == list(range(1, 11))
    assert "said by the run" in (experiment.out / "runs/two/s1/c/seed3/console.txt").read_text()

    again = experiment.run("--workers", "2")
    assert again.returncode == 0 and "40 runs, 40 of them done before" in again.stdout
    assert experiment.events("begin") == begun
    assert experiment.comparison() == found


def test_a_crash_is_recorded_shown_and_tried_again_on_request_only(experiment):
    experiment.given["flags"] |= {"fake.crash": 1}
    first = experiment.run("--workers", "2")
    assert first.returncode == 1 and "6 runs crashed" in first.stderr
    (arm,) = experiment.comparison()["arms"]
    assert [(len(m["crashed"]), m["runs"]) for m in arm["methods"]] == [(2, 2)] * 3
    assert arm["methods"][0]["crashed"][0] == {"run": "runs/main/s0/a/seed1", "reason": "RuntimeError: planted failure"}
    assert arm["pairs"][0]["n"] == 2
    begun = len(experiment.events("begin"))
    assert experiment.run("--workers", "2").returncode == 1 and len(experiment.events("begin")) == begun
    assert (
        experiment.run("--retry_crashed", "--workers", "2").returncode == 1
        and len(experiment.events("begin")) == begun + 6
    )


def test_a_crashed_trial_rules_its_learning_rate_out(experiment):
    experiment.given["learning_rate"] = {"choices": [1, 2], "seeds": [7, 8]}
    experiment.given["flags"] |= {"fake.crash": 7}
    done = experiment.run("--workers", "2")
    found = experiment.comparison()
    assert done.returncode == 1 and "4 runs crashed; --retry_crashed" in done.stderr
    assert len(found["unfinished"]) == 12 and "every learning rate had a run that crashed" in done.stdout
    assert [row["chosen"] for row in found["arms"][0]["learning_rates"]] == [False] * 4


def test_a_worker_that_is_killed_is_replaced(experiment):
    experiment.given["flags"] |= {"fake.die": 0}
    assert experiment.run("--workers", "1").returncode == 1
    (arm,) = experiment.comparison()["arms"]
    assert [m["runs"] for m in arm["methods"]] == [2] * 3
    assert arm["methods"][0]["crashed"][0]["reason"] == "its process was killed by SIGKILL (out of memory?)"


@pytest.mark.parametrize("how", ["Ctrl-C", "kill -9"])
def test_an_interrupted_comparison_goes_on(experiment, how):
    # The runs of one method take a minute unless they are told to hurry: after one other run both workers are at it.
    experiment.given["methods"]["a"] |= {"fake.seconds": 60}
    process = experiment.start("--workers", "2")
    until(lambda: len(experiment.events("begin")) == 3 and len(experiment.results()) == 1, "no run is done")
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 2
    kept = experiment.results()
    begun = time.monotonic()
    if how == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.kill()
    _, err = process.communicate(timeout=10)
    assert time.monotonic() - begun < 5
    assert_gone(children)
    if how == "Ctrl-C":
        assert (
            process.returncode == 130
            and err == "deltal compare: interrupted; the same command resumes where it stopped\n"
        )
    experiment.hurry.touch()
    before = experiment.events("begin")
    assert experiment.run("--workers", "2").returncode == 0
    results = experiment.results()
    assert len(results) == 12 and kept.items() <= results.items()
    assert not set(kept) & set(experiment.events("begin")[len(before) :])
    assert experiment.comparison()["unfinished"] == []


def test_the_pipelines_command_is_told_to_end_when_its_worker_is_gone(experiment):
    process = experiment.start("--workers", "1", engine="run_command")
    until(lambda: list(experiment.out.rglob("ready")), "the command did not start")
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 2  # worker and command
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    assert_gone(children)
    assert len(list(experiment.out.rglob("cleaned"))) == 1


def test_two_processes_do_not_share_a_folder(experiment):
    experiment.given["flags"] |= {"fake.seconds": 60}
    first = experiment.start("--workers", "1")
    until(lambda: experiment.events("begin"), "no run began")
    second = experiment.run("--workers", "1")
    os.killpg(first.pid, signal.SIGINT)
    first.communicate(timeout=10)
    assert second.returncode == 2
    assert second.stderr == f"deltal compare: error: {experiment.out}: another comparison is writing there\n"


def test_runs_of_other_settings_are_refused_with_the_difference(experiment):
    assert experiment.run("--workers", "2").returncode == 0
    start = Path(experiment.given["starts"][1])
    before = start / "config.json"
    text = before.read_text()
    before.write_text('{"name": "another"}')
    refused = experiment.run("--workers", "2")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert "s1/a/seed0: the run there was begun with another starting point: config.json differs" in refused.stderr
    before.write_text(text)
    experiment.given["flags"]["actor.max_norm"] = 1.0
    refused = experiment.run("--dry_run")
    assert refused.returncode == 2 and "was begun with --actor.max_norm None, not 1.0" in refused.stderr
    del experiment.given["flags"]["actor.max_norm"]
    assert experiment.run().returncode == 0


def test_the_time_left_is_the_mean_of_an_arms_runs_over_the_workers():
    arms = [SimpleNamespace(name="short"), SimpleNamespace(name="long"), SimpleNamespace(name="new")]
    seconds = {"short": [1.0, 3.0], "long": [10.0], "new": []}
    left = {"short": 4, "long": 2.5, "new": 3}
    schedule = SimpleNamespace(seconds=lambda arm: seconds[arm.name], left=lambda arm: left[arm.name])
    mean_of_all = (1 + 3 + 10) / 3
    assert seconds_left(schedule, arms, 2) == pytest.approx((4 * 2 + 2.5 * 10 + 3 * mean_of_all) / 2)
    seconds.update(short=[], long=[])
    assert seconds_left(schedule, arms, 2) is None


def test_the_time_left_counts_runs_of_earlier_sessions_by_their_arm(experiment):
    experiment.given["methods"], experiment.given["arms"] = {"a": {"fake.gain": 0.0}}, {"one": {}, "two": {}}
    del experiment.given["families"]
    assert experiment.run("--workers", "1").returncode == 0
    for name, seconds in (("one", 60), ("two", 36_000)):
        for path in experiment.out.rglob(f"runs/{name}/*/a/seed*/{RESULT}"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": seconds}))
    # One run of the first arm, which is the next one, and two of the other are to come.
    for again in ("one/s0/a/seed0", "two/s0/a/seed0", "two/s1/a/seed1"):
        (experiment.out / "runs" / again / RESULT).unlink()
    (line,) = re.findall(r"^\[6/8\] .*$", experiment.run("--workers", "1").stdout, re.MULTILINE)
    assert "runs/one/s0/a/seed0: " in line and line.endswith(", about 20:00:00 left")


def test_by_default_the_loop_takes_every_core_and_shares_no_gpu(monkeypatch):
    for gpus, engine, workers in (
        (False, "loop", len(os.sched_getaffinity(0))),
        (True, "loop", 1),
        (False, "pipeline", 1),
    ):
        monkeypatch.setattr("torch.cuda.is_available", lambda gpus=gpus: gpus)
        assert _default_workers(engine) == workers
