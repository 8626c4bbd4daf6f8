"""scripts/check_eval_resume.py on made evaluations and a made-up command: what it calls right, and what it kills. No vLLM is started."""

import sys
from pathlib import Path

import pytest
from support.scripts import in_scripts

TOTAL = 4000
CHANGES = {
    "nothing": (),
    "the order of the responses": ("responses.jsonl", lambda lines: lines[::-1]),
    "a response": ("responses.jsonl", lambda lines: ["other", *lines[1:]]),
    "a response twice": ("responses.jsonl", lambda lines: [*lines, lines[0]]),
    "a number": ("results.json", lambda lines: ["0.25"]),
    "a table": ("report.md", lambda lines: ["other"]),
    "an example": ("samples.md", lambda lines: ["other"]),
}
RIGHT = ("nothing", "the order of the responses")


def write_evaluation(folder: Path, change: tuple) -> str:
    folder.mkdir()
    files = {"responses.jsonl": [f"response {i}" for i in range(TOTAL)]}
    files |= dict.fromkeys(("results.json", "report.md", "samples.md"), ["0.5"])
    for name, lines in files.items():
        written = change[1](lines) if change and change[0] == name else lines
        (folder / name).write_text("".join(f"{line}\n" for line in written))
    return str(folder)


@pytest.fixture(scope="module")
def right(tmp_path_factory) -> dict[str, bool]:
    folder = tmp_path_factory.mktemp("evaluations")
    code = """
from pathlib import Path
import check_eval_resume
result = {name: check_eval_resume.check(Path(out), Path(data["nothing"]))["right"] for name, out in data.items()}
"""
    return in_scripts(code, {name: write_evaluation(folder / name, change) for name, change in CHANGES.items()})


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_differs_but_the_order_is_noticed(right, change):
    assert right[change] == (change in RIGHT)


COMMAND = """
import sys, time
from pathlib import Path

with open(Path(sys.argv[1]) / "responses.jsonl", "a") as file:
    for number in range(600):
        time.sleep(0.001)
        print("response", number, file=file, flush=True)
time.sleep(5)
"""
KILL = """
import random
from pathlib import Path
import check_eval_resume
out = Path(data["out"])
result = [check_eval_resume.kill_once([*data["words"], str(out)], out, random.Random(seed)) for seed in data["seeds"]]
"""


def test_it_is_killed_within_its_responses_and_resumed(tmp_path):
    """Both seeds kill after a number of responses."""
    (tmp_path / "command.py").write_text(COMMAND)
    given = {"out": str(tmp_path), "words": [sys.executable, str(tmp_path / "command.py")], "seeds": [9, 0]}
    first, second = in_scripts(KILL, given)
    assert first["exit"] == second["exit"] == -9
    assert 0 == first["responses before"] < first["responses"] <= second["responses before"] < second["responses"]
    assert first["responses"] < 600
