"""The math grader against labelled pairs and hostile answers, and the maker of the pairs against what is known by hand."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.scripts import in_scripts, run_script

from deltal_openrlhf.grading.grader import Grader

PAIRS = [json.loads(line) for line in Path(__file__).with_name("graded_pairs.jsonl").read_text().splitlines()]
"""Written and labelled by hand."""
FILES = ("orz_math500.json", "orz_aime2024.json", "orz_math_57k_collected_prefix.jsonl", "ur1z_amc.jsonl")


def shares(verdicts: list[bool]) -> tuple[float, float]:
    """(right, wrong answers called equal) as shares of all pairs."""
    labels = [pair["label"] for pair in PAIRS]
    right = sum(v is label for v, label in zip(verdicts, labels, strict=True))
    false_equal = sum(v and not label for v, label in zip(verdicts, labels, strict=True))
    return right / len(PAIRS), false_equal / len(PAIRS)


@pytest.fixture(scope="module")
def grader():
    with Grader(workers=2, deadline=20) as grader:
        yield grader


def test_accuracy_on_hand_labelled_pairs(grader):
    grades = grader.grade_many([(pair["gold"], pair["pred"]) for pair in PAIRS])
    assert all(grade.equal == (grade.status == "equal") for grade in grades)
    right, false_equal = shares([grade.equal for grade in grades])
    failed = [pair for pair, grade in zip(PAIRS, grades, strict=True) if grade.equal is not pair["label"]]
    assert right >= 0.99, failed
    assert false_equal <= 0.005, failed


def test_no_simple_grader_passes_the_hand_labelled_pairs():
    """The limits above mean something: neither a constant nor a comparison of texts comes near them."""
    assert len(PAIRS) >= 200
    for verdicts in (
        [True] * len(PAIRS),
        [False] * len(PAIRS),
        [pair["pred"] is not None and "".join(pair["pred"].split()) in str(pair["gold"]) for pair in PAIRS],
    ):
        assert shares(verdicts)[0] < 0.7


def test_the_pairs_are_graded_the_same_with_golds_and_answers_exchanged(grader):
    """Where both sides are answers, equality has no direction."""
    pairs = [
        pair
        for pair in PAIRS
        if isinstance(pair["gold"], str) and pair["pred"] and pair["kind"] not in ("choice", "none")
    ]
    grades = grader.grade_many([(pair["pred"], pair["gold"]) for pair in pairs])
    failed = [pair for pair, grade in zip(pairs, grades, strict=True) if grade.equal is not pair["label"]]
    assert len(failed) <= 0.02 * len(pairs), failed


def sessions() -> set[int]:
    """Each worker has one of its own, which its children share."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.add(os.getsid(process.pid))
    return found - {os.getsid(0)}


def test_hostile_answers(tmp_path, monkeypatch):
    """Mixed into good pairs: neither those, nor the workers, nor this process and its folder are touched."""
    deadline = 0.5
    canary = tmp_path / "canary"
    monkeypatch.chdir(tmp_path)
    bombs = list(json.loads(run_script("hostile_answers.py", canary).stdout).values())
    good = [(pair["gold"], pair["pred"]) for pair in PAIRS]
    environment = dict(os.environ)
    before = sessions()
    with Grader(workers=2, deadline=deadline) as grader:
        expected = grader.grade_many(good)
        step = len(good) // len(bombs)
        mixed: list = []
        places = []
        for i, bomb in enumerate(bombs):
            mixed += good[i * step : (i + 1) * step]
            places.append(len(mixed))
            mixed.append((r"\frac{x^2+1}{3}", bomb))
        started = time.monotonic()
        futures, blocked = [], []
        for pair in mixed:
            began = time.thread_time()
            futures.append(grader.submit(*pair))
            blocked.append(time.thread_time() - began)
        grades = [future.result() for future in futures]
        seconds = time.monotonic() - started
        again = grader.grade_many(good)
        alive = sessions() - before
    hostile = [grades[place] for place in places]
    assert [grade for place, grade in enumerate(grades) if place not in places] == expected[: len(bombs) * step]
    assert again == expected
    assert not any(grade.equal for grade in hostile)
    assert max(blocked) < 0.2  # what is done before a worker has it is not under the deadline
    statuses = {grade.status for grade in hostile}
    assert {"timeout", "too_long", "unparsable"} <= statuses  # the set does reach the limits
    killed = sum(grade.status in ("timeout", "worker_died") for grade in hostile)
    assert seconds < (killed + 2) * (deadline + 1) / 2 + 5
    assert len(alive) == 2
    assert not sessions() & alive
    assert not canary.exists() and list(tmp_path.iterdir()) == []
    assert dict(os.environ) == environment


def test_a_hostile_answer_ends_by_its_deadline():
    """With an idle worker, so that the hand-over is the submission."""
    with Grader(workers=1, deadline=0.5) as grader:
        grader.start()
        # The second slow one gets half the time.
        for bomb, deadline in ((r"\prod_{k=1}^{10^{9}} (k^k+1)", 0.5), (r"\prod_{k=1}^{10^{9}} (x^k+k)", 0.25)):
            started = time.monotonic()
            grade = grader.grade(r"\frac{x^2+1}{3}", bomb)
            assert (grade.equal, grade.status) == (False, "timeout")
            assert deadline <= time.monotonic() - started < deadline + 1
            assert grader.grade(r"\frac{x^2+1}{3}", r"\frac{1}{3}(x^2+1)").equal


def test_evaluator_known_values():
    numbers = {
        "-2^2": -4,
        r"\frac43": 4 / 3,
        r"1/2 \cdot 3": 1.5,
        r"2\sqrt[3]{8}": 4,
        r"\log_2 8 + \ln e": 4,
        r"\sin^2(\pi/6)": 0.25,
        r"\binom{5}{2} - 3!": 4,
        r"\left\lfloor \frac{7}{2} \right\rfloor": 3,
        r"|{-3}| + .5": 3.5,
        "(1+i)^2": 2j,
    }
    code = """
from graded_pairs.latex_value import value
result = [[float(value(text).real), float(value(text).imag)] for text in data]
"""
    for (text, number), found in zip(numbers.items(), in_scripts(code, list(numbers)), strict=True):
        assert abs(complex(*found) - number) < 1e-12, text


def test_evaluator_tells_expressions_apart():
    pairs = [
        ("(x+1)^2", "x^{2}+2x+1"),
        ("(x+1)^2", "x^2+1"),
        ("x", "y"),
        (r"\frac{1}{20^{2012}}", r"\frac{1}{20^{2013}}"),
    ]
    unreadable = ["", "1 +", r"\frac{1}{", "1,2", r"\foo 1", "52_8", "1/0"]
    code = """
from graded_pairs.latex_value import Unreadable, same, value
def refused(text):
    try:
        value(text)
    except Unreadable:
        return True
result = [same(*pair) for pair in data[0]], [text for text in data[1] if refused(text)]
"""
    assert in_scripts(code, [pairs, [*unreadable, "1"]]) == [[True, False, False, False], unreadable]


def test_structures():
    pairs = {
        (r"(3,4]", r"(3, 4]"): True,
        (r"(3,4]", r"[3,4]"): False,
        ("(3,4)", "(4,3)"): False,
        ("1, 2", "2, 1"): True,
        ("1, 2", "1, 2, 3"): False,
        (r"1 \pm \sqrt{2}", r"1 \pm -\sqrt{2}"): True,
        (r"\begin{pmatrix} 1 & 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"): False,
        (r"1\frac{1}{2}", r"\frac{3}{2}"): True,
        ("1.7e4", "17000"): True,
    }
    code = """
from graded_pairs.shapes import equal, read
result = [equal(read(a), read(b)) for a, b in data]
"""
    assert dict(zip(pairs, in_scripts(code, list(pairs)), strict=True)) == pairs


@pytest.fixture
def folder(tmp_path):
    """Small files in the formats of the public sets."""
    golds = [
        r"\frac{14}{3}",
        "42",
        r"3\sqrt{13}",
        "(6,31,-1)",
        "n = 4",
        r"90^\circ",
        "1,-2",
        r"x^2+3x+2",
        "12,345",
        "0.5",
    ]
    golds += [str(n) for n in range(100, 160)]
    (tmp_path / FILES[0]).write_text(json.dumps([{"final_answer": gold} for gold in golds]))
    (tmp_path / FILES[1]).write_text(json.dumps([{"final_answer": "033"}]))
    for name in FILES[2:]:
        (tmp_path / name).write_text("".join(json.dumps({"answer": n}) + "\n" for n in (3.0, 17, "2^{10}")))
    for name in ("ur1z_minerva.jsonl", "ur1z_olympiad_bench.jsonl"):
        (tmp_path / name).write_text(
            json.dumps({"answer": ["0.01", "0.02\n"]}) + "\n" + json.dumps({"answer": ["$2n$"]}) + "\n"
        )
    rows = [{"gold": str(n), "pred": str(n + k), "label": k == 0} for n in range(60) for k in (0, 1)]
    (tmp_path / "gsm8k_graded_pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_made_pairs(folder):
    runs = [[], [], ["--seed", "1"], ["--holdout", "--seed", "1"]]
    words = [
        ["--data", str(folder), "--out", str(folder / f"{number}.jsonl"), "--pairs", "200", *flags]
        for number, flags in enumerate(runs)
    ]
    code = """
import make_graded_pairs
from graded_pairs import golds
golds.SYNTHETIC_GOLDS = 20
result = []
for sys.argv[1:] in data:
    result.append(make_graded_pairs.main())
"""
    assert in_scripts(code, words) == [0] * 4
    texts = [(folder / f"{number}.jsonl").read_text(encoding="utf-8") for number in range(4)]
    pairs, again, other, held_out = ([json.loads(line) for line in text.splitlines()] for text in texts)
    assert len(pairs) == 200 and sum(pair["label"] for pair in pairs) == 100
    assert pairs == again
    assert pairs != other
    assert not {str(pair["gold"]) for pair in pairs} & {str(pair["gold"]) for pair in held_out}
    assert {"gsm8k_right", "gsm8k_wrong", "digit", "frac_style"} <= {pair["kind"] for pair in pairs}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda f: (f / FILES[0]).unlink(),
        lambda f: (f / FILES[0]).write_text("[{]"),
        lambda f: (f / FILES[2]).write_text('{"reply": 1}\n'),
    ],
)
def test_bad_data_is_one_clear_line(folder, spoil):
    spoil(folder)
    process = run_script("make_graded_pairs.py", "--data", folder, "--out", folder / "pairs.jsonl")
    assert process.returncode == 2
    assert len(process.stderr.splitlines()) == 1
    assert not (folder / "pairs.jsonl").exists()
