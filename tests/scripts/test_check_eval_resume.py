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
import signal, sys, time
from pathlib import Path

signal.alarm(60)
out = Path(sys.argv[1])
with open(out / "responses.jsonl", "a") as file:
    for number in range(int(sys.argv[2])):
        seen = out / f"seen {(out / 'responses.jsonl').read_bytes().count(10)}"
        while not seen.exists() or seen.stat().st_size < 2:
            time.sleep(0.01)
        print("response", number, file=file, flush=True)
if sys.argv[3] == "goes on":
    signal.pause()
"""
"""It writes that many responses, each once the script has looked twice, and then does nothing until it is killed, or ends."""
KILL = """
from pathlib import Path
import check_eval_resume

class Chance:
    def __init__(self, early):
        self.early = early

    def random(self):
        return 0.0 if self.early else 1.0

    def randint(self, least, most):
        return 4

    def uniform(self, least, most):
        return 0.0

def responses_in(out, count=check_eval_resume.responses_in):
    number = count(out)
    with open(out / f"seen {number}", "a") as file:
        file.write(".")
    return number

check_eval_resume.responses_in = responses_in
out, result = Path(data["out"]), []
for early, *words in data["runs"]:
    try:
        result.append(check_eval_resume.kill_once([*data["words"], str(out), *words], out, Chance(early)))
    except RuntimeError as error:
        result.append(str(error))
"""


def test_it_is_killed_within_its_responses_and_resumed(tmp_path):
    """Before the first response, after 4 more, after 4 more again, and too late."""
    (tmp_path / "command.py").write_text(COMMAND)
    runs = [(True, "0", "goes on"), (False, "5", "goes on"), (False, "5", "goes on"), (False, "3", "ends")]
    given = {"out": str(tmp_path), "words": [sys.executable, str(tmp_path / "command.py")], "runs": runs}
    *kills, too_late = in_scripts(KILL, given)
    assert [tuple(kill.values()) for kill in kills] == [(0, 0, -9), (0, 4, -9), (4, 8, -9)]
    assert too_late.startswith("the evaluation ended by itself: ")
