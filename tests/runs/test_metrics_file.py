"""metrics.jsonl: what a resumed and a fresh run leave of an older file, and what is said of a run without signal."""

import json
import os

import pytest

from deltal_openrlhf.runs.metrics_file import SILENT_STEPS, MetricsFile, read_metrics, silence


def rows(path):
    return [row["step"] for row in read_metrics(str(path))]


def test_a_resumed_run_drops_the_steps_after_its_checkpoint_and_half_a_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(str(tmp_path), resumed_step=0)
    for step in (1, 2, 3):
        first.append({"step": step})
    with open(path, "a") as file:
        file.write('{"step": 4, "rewa')  # killed in mid-write
    assert rows(path) == [1, 2, 3]
    second = MetricsFile(str(tmp_path), resumed_step=2)
    second.append({"step": 3, "again": True})
    assert rows(path) == [1, 2, 3]
    assert read_metrics(str(path))[-1] == {"step": 3, "again": True}


def test_a_fresh_run_moves_an_older_file_aside(tmp_path):
    for run, begun in ((7, 111.5), (8, 222.5), (1, 333.5)):
        MetricsFile(str(tmp_path), resumed_step=0).append({"step": run, "time": begun})
    assert rows(tmp_path / "metrics.jsonl") == [1]
    assert rows(tmp_path / "metrics.111.jsonl") == [7]
    assert rows(tmp_path / "metrics.222.jsonl") == [8]


def test_rows_are_json(tmp_path):
    MetricsFile(str(tmp_path / "new" / "folder"), resumed_step=0).append({"step": 1, "kl": float("nan"), "x": 0.5})
    assert json.loads((tmp_path / "new" / "folder" / "metrics.jsonl").read_text()) == {
        "step": 1,
        "kl": None,
        "x": 0.5,
    }


def test_a_run_without_signal_says_so_once():
    silent = {"deltal/groups_without_signal": 1.0, "grade/unparsable": 0.94, "rollout/truncated_rate": 0.0}
    rows = [silent] * (SILENT_STEPS + 3)
    said = [silence(rows[:number]) for number in range(1, len(rows) + 1)]
    assert [text is not None for text in said] == [number == SILENT_STEPS for number in range(1, len(rows) + 1)]
    assert "no prompt gave a signal in 5 steps" in said[4] and "94% without an answer to grade" in said[4]
    assert silence([silent] * 4 + [{"deltal/groups_without_signal": 0.9}]) is None
    assert silence([{}] * 9) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"step": 2, "rew', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"2", "no JSON object with a step"),
        (b"", "not JSON"),
    ],
)
def test_a_broken_line_is_named_by_file_and_number(tmp_path, line, reason):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
    with pytest.raises(ValueError) as error:
        read_metrics(path)
    assert str(error.value) == f"{path}: line 2 is broken ({reason}); repair it, or move the file away"


def test_a_row_is_on_the_disk_when_append_returns(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    metrics = MetricsFile(str(tmp_path), resumed_step=0)
    metrics.append({"step": 1})
    metrics.append({"step": 2})
    assert synced == [len('{"step": 1}\n'), 2 * len('{"step": 1}\n')]
