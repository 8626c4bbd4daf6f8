"""`deltal diagnose` on the tiny example: its flags, what it refuses, and what an undisturbed run and another one have in common."""

import json
from pathlib import Path
from typing import Any

import pytest

from deltal_openrlhf.cli.diagnose import main
from deltal_openrlhf.diagnostics import run
from deltal_openrlhf.diagnostics.folder import GRAM, ROLLOUTS, ROWS

PROMPTS, N = 12, 3


def flags(example: Path, out: Path, **changes: Any) -> list[str]:
    values = {
        "model": example / "model",
        "data": example / "data.jsonl",
        "out": out,
        "reward": example / "reward.py",
        "prompts": PROMPTS,
        "n": N,
        "batch_prompts": 2,
        "max_new_tokens": 24,
        "batch_size": 12,
        "projection": 256,
    } | changes
    return [part for name, value in values.items() if value is not None for part in (f"--{name}", str(value))]


def saved_flags(example: Path, path: Path, out: Path, **changes: Any) -> list[str]:
    of_data = dict.fromkeys(("data", "reward", "prompts", "n", "max_new_tokens", "batch_size"))
    return flags(example, out, **(of_data | {"rollouts": path} | changes))


def refused(capsys: pytest.CaptureFixture[str], argv: list[str]) -> str:
    """The one line that the command says before it ends with 2."""
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def found(out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """findings.json without what differs from run to run."""
    values = json.loads((out / run.FINDINGS).read_text())
    source = values.pop("source")
    for name in ("seconds", "seconds_by_stage", "peak_memory_gb", "command"):
        assert source.pop(name)
    return values, source


def assert_same(a: Path, b: Path) -> None:
    for name in (ROLLOUTS, ROWS, GRAM):
        assert (a / name).read_bytes() == (b / name).read_bytes()
    (findings, source), (others, of_others) = found(a), found(b)
    assert findings == others and source["log_prob_difference"] == of_others["log_prob_difference"]
