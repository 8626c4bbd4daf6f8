"""`deltal grade` as a process on real files."""

import json
import subprocess
import sys

import pytest
from support import commands


def deltal_grade(*arguments, **more) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "deltal_openrlhf.cli.main", "grade", *map(str, arguments)]
    return commands.run(command, capture_output=True, text=True, timeout=60, **more)


@pytest.fixture
def pairs(tmp_path):
    rows = [
        {"gold": "1/2", "pred": "0.5", "label": True, "id": "a"},
        {"gold": ["3", "4"], "pred": "4", "label": True},
        {"gold": "5", "pred": "6", "label": False},
        {"gold": "5", "pred": "5.0", "label": False},  # a wrong label: counts as a wrong answer called equal
        {"gold": "5", "pred": None, "label": True},  # a right one called different
        {"gold": r"\sin 2x", "pred": r"2\sin x\cos x"},
        {"gold": "2", "pred": "7^{7^{9^9}}"},
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_lines_totals_and_accuracy(pairs, tmp_path):
    out, summary = tmp_path / "out.jsonl", tmp_path / "summary.json"
    result = deltal_grade(pairs, "--out", out, "--summary", summary, "--deadline", 1)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["status"] for line in lines] == [
        "equal",
        "equal",
        "different",
        "equal",
        "unparsable",
        "equal",
        "timeout",
    ]
    assert [line["equal"] for line in lines] == [True, True, False, True, False, True, False]
    assert lines[0]["id"] == "a" and lines[0]["gold"] == "1/2"
    totals = json.loads(summary.read_text())
    assert totals["pairs"] == 7 and totals["labelled"] == 5
    assert totals["accuracy"] == pytest.approx(3 / 5)
    assert (totals["false_equal"], totals["false_different"]) == (1, 1)
    assert totals["statuses"] == {
        "equal": 4,
        "different": 1,
        "unparsable": 1,
        "too_long": 0,
        "timeout": 1,
        "worker_died": 0,
    }
    assert totals["pairs_per_s"] == pytest.approx(7 / totals["seconds"], rel=0.05)
    assert (
        "accuracy 0.6000 on 5 labelled pairs: 1 wrong answers called equal, 1 right ones called different"
        in result.stdout
    )


def test_lines_on_standard_output_are_all_that_is_there(pairs):
    result = deltal_grade(pairs, "--deadline", 1)
    assert [json.loads(line)["equal"] for line in result.stdout.splitlines()] == [
        True,
        True,
        False,
        True,
        False,
        True,
        False,
    ]
    assert "7 pairs in" in result.stderr


def test_a_reader_of_the_lines_that_has_left_is_no_success(pairs):
    command = [sys.executable, "-m", "deltal_openrlhf.cli.main", "grade", pairs]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.wait(60) == 141
        assert "Error" not in process.stderr.read()


def test_a_pipe_numbers_as_golds_and_labels_as_bits():
    rows = [
        {"gold": 18.0, "pred": "18", "label": 1},
        {"gold": [0.5, "x"], "pred": r"\frac{1}{2}", "label": 0},
        {"gold": 7, "pred": 8, "label": 0},
        {"gold": True, "pred": "1"},
        {"gold": float("nan"), "pred": "1"},
        {"gold": "1", "pred": "1", "label": 2},
    ]
    result = deltal_grade("-", input="".join(json.dumps(row) + "\n" for row in rows))
    assert result.returncode == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["gold"], line["label"], line["equal"]) for line in lines] == [
        (18.0, 1, True),
        ([0.5, "x"], 0, True),
        (7, 0, False),
    ]
    assert "accuracy 0.6667 on 3 labelled pairs: 1 wrong answers called equal" in result.stderr
    assert "line 4: gold is a non-empty text, a number or a list of these, not true" in result.stderr
    assert "line 5: the answer must be finite, got nan" in result.stderr
    assert "line 6: label is true, false, 1, 0 or null, not 2" in result.stderr
    empty = deltal_grade("-", input="")
    assert (empty.returncode, empty.stderr) == (
        2,
        "deltal grade: error: standard input: holds no line with gold and pred\n",
    )


def test_whole_responses(tmp_path):
    path = tmp_path / "responses.jsonl"
    rows = [
        {"gold": "5", "pred": r"2 less than 7 is \boxed{5}"},
        {"gold": "5", "pred": "5"},
        {"gold": "5", "pred": "#### 6"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for flags, wanted in (
        (("--unmarked", "none"), ["equal", "unparsable", "different"]),
        (("--unmarked", "whole"), ["equal", "equal", "different"]),
        ((), ["different", "equal", "different"]),
    ):
        result = deltal_grade(path, *flags)
        statuses = [json.loads(line)["status"] for line in result.stdout.splitlines()]
        assert [s.replace("unparsable", "different") if not flags else s for s in statuses] == wanted


def test_bad_lines_are_named_and_do_not_stop_the_rest(tmp_path):
    path = tmp_path / "bad.jsonl"
    good = b'{"gold": "1", "pred": "1"}\n'
    bad = [b"{broken\n", b'{"gold": "1"}\n', b"[1]\n", b'{"gold": {}, "pred": "1"}\n', b'{"gold": "1", "pred": [1]}\n',
           b'{"gold": "1", "pred": "1", "label": "yes"}\n', b"\xff\n", b'{"gold": "", "pred": "1"}\n', b"[" * 100_000 + b"\n"]  # fmt: skip
    path.write_bytes(good + b"".join(bad) + b"\n" + good)
    result = deltal_grade(path)
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 2
    for number in range(2, 11):
        assert f"line {number}: " in result.stderr
    assert "line 2: not JSON (Expecting property name enclosed in double quotes at column 2)\n" in result.stderr
    assert "line 3: no field 'pred'; it has gold" in result.stderr
    assert "9 bad lines were left out" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.jsonl"], "absent.jsonl: No such file or directory"),
        (["empty.jsonl"], "holds no line with gold and pred"),
        (["pairs.jsonl", "--workers", "0"], "workers is 0, allowed is 1 or more"),
        (["pairs.jsonl", "--out", "no/such/out.jsonl"], "there is no folder"),
        (["pairs.jsonl", "--unmarked", "all"], "invalid choice: 'all'"),
        ([], "the following arguments are required: FILE"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(pairs, tmp_path, monkeypatch, arguments, message):
    (tmp_path / "empty.jsonl").write_text("\n")
    monkeypatch.chdir(tmp_path)
    result = deltal_grade(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
