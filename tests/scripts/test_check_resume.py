"""scripts/check_resume.py on made runs: what it calls right, and what it notices. No pipeline is started."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.scripts import in_scripts

STEPS, SAMPLES, BATCH = 24, 4, 4


def write_run(folder: Path, *, prompts: list[int], tokens: int = 5, weight: float = 1.0, steps: int = STEPS) -> Path:
    """prompts: of all steps, one after the other. tokens: the first one of step 7."""
    rollouts = folder / "hf" / "rollouts"
    rollouts.mkdir(parents=True)
    for step in range(1, steps + 1):
        rows = [{"step": step}]
        for prompt in prompts[(step - 1) * BATCH : step * BATCH]:
            first = tokens if step == 7 else 5
            rows += [{"prompt": f"p{prompt}", "token_ids": [first, sample]} for sample in range(SAMPLES)]
        (rollouts / f"step_{step:06d}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [json.dumps({"step": step}) + "\n" for step in range(1, steps + 1)]
    (folder / "hf" / "metrics.jsonl").write_text("".join(lines))
    save_file({"w": torch.tensor([weight, 2.0])}, folder / "hf" / "model.safetensors")
    return folder


EPISODE = list(range(24))


@pytest.fixture(scope="module")
def figures(tmp_path_factory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("runs")
    whole = write_run(folder / "whole", prompts=EPISODE * 4)
    runs = {
        "same": write_run(folder / "same", prompts=EPISODE * 4, weight=1 + 5e-7),
        "lost": write_run(folder / "lost", prompts=[*EPISODE * 3, *EPISODE[:20], *EPISODE[:4]]),
        "order": write_run(folder / "order", prompts=[*EPISODE * 3, *EPISODE[::-1]]),
        "drawn": write_run(folder / "drawn", prompts=EPISODE * 4, tokens=6, weight=1.1),
        "short": write_run(folder / "short", prompts=EPISODE * 4, steps=23),
    }
    code = """
from pathlib import Path
import check_resume
whole = Path(data.pop("whole"))
result = {name: [check_resume.check(Path(run), whole, sampling=s) for s in (True, False)] for name, run in data.items()}
"""
    paths = {"whole": str(whole)} | {name: str(run) for name, run in runs.items()}
    return in_scripts(code, paths)


def test_a_run_with_the_same_prompts_responses_and_parameters_is_right(figures):
    strict, prompts_only = figures["same"]
    assert strict == prompts_only and strict["right"] and strict["steps"] == STEPS
    assert strict["first step with other responses"] is None
    assert 0 < strict["largest difference of a parameter"] < 1e-6


@pytest.mark.parametrize(
    ("name", "same_prompts", "once"), [("lost", False, False), ("order", False, True), ("short", False, False)]
)
def test_lost_prompts_another_order_and_missing_steps_are_noticed(figures, name, same_prompts, once):
    for found in figures[name]:
        assert not found["right"]
        assert (found["same prompts in every step"], found["every prompt once an episode"]) == (same_prompts, once)


def test_other_responses_count_where_sampling_is_deterministic_only(figures):
    strict, prompts_only = figures["drawn"]
    assert not strict["right"] and prompts_only["right"]
    assert strict["first step with other responses"] == 7
    assert strict["largest difference of a parameter"] == pytest.approx(0.1)


RUN = """
import json, signal, sys
from pathlib import Path

signal.alarm(60)
hf = Path(sys.argv[1]) / "hf"
hf.mkdir()
(hf / "metrics.jsonl").write_text(json.dumps({"step": 1, "of": "made up"}) + "\\n")
signal.pause()
"""
"""It does one step, and then nothing until it is killed."""
KILL = """
from pathlib import Path
import check_resume

class Chance:
    def choice(self, of):
        return "worker" if "worker" in of else 1

    def uniform(self, least, most):
        return least

check_resume.random.Random = lambda seed: Chance()
out = Path(data["out"])
try:
    result = check_resume.train_with_kills([*data["words"], str(out)], out, 1, 0, 0.0)
except RuntimeError as error:
    result = str(error)
"""


def test_the_driver_is_not_killed_in_place_of_a_worker_that_is_not_found(tmp_path):
    """Drawn are a worker, and one step before the kill."""
    (tmp_path / "run.py").write_text(RUN)
    found = in_scripts(KILL, {"out": str(tmp_path / "out"), "words": [sys.executable, str(tmp_path / "run.py")]})
    assert "no process of the run is called" in found and "PolicyModelActor" in found
