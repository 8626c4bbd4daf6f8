"""results.json, its tables and samples, and the comparison of two results, with numbers computed by hand."""

import copy
import json
import re

import pytest

from deltal_openrlhf.cli import main as cli
from deltal_openrlhf.evaluation import report
from deltal_openrlhf.evaluation.compare import compare, comparison_text
from deltal_openrlhf.evaluation.problems import Problem
from deltal_openrlhf.evaluation.prompts import Prompt
from deltal_openrlhf.evaluation.results import results
from deltal_openrlhf.evaluation.store import Record

COUNTS = {"sums": [0, 2, 4], "hard": [1]}
"""Correct responses of 4 to each problem. Avg: sums (0 + 1/2 + 1) / 3 = 1/2, hard 1/4. Pass@2: sums (0 + 5/6 + 1) / 3 = 11/18, hard 1/2."""


def evaluation(counts, n=4):
    """problems, prompts, records. The first responses to a problem are correct; lengths are 1, 2, 3, ...; the last is cut off."""
    problems = [Problem(name, i, f"{name} {i}?", "2") for name in counts for i in range(len(counts[name]))]
    records = {}
    for problem in problems:
        for sample in range(n):
            correct = sample < counts[problem.set][problem.position]
            status = "equal" if correct else "timeout" if sample == 3 else "different"
            record = Record(
                problem.set, problem.position, sample, f"so {sample}", len(records) + 1, "stop", "2", status, correct
            )
            records[problem.set, problem.position, sample] = record
    key, last = records.popitem()
    records[key] = last._replace(finish_reason="length", answer=None)
    return problems, [Prompt(problem.prompt, [1]) for problem in problems], records


def result(counts, n=4, **settings):
    problems, _, records = evaluation(counts, n)
    settings = {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 64, "unmarked": "none", **settings}
    return {"path": "p", "model": "m", "settings": settings, "versions": {}, **results(problems, records, n)}


def test_results_by_hand():
    found = result(COUNTS)
    sums, hard, overall = found["sets"]["sums"], found["sets"]["hard"], found["overall"]
    assert sums["avg"]["value"] == pytest.approx(1 / 2) and hard["avg"]["value"] == pytest.approx(1 / 4)
    assert [sums["pass"][k]["value"] for k in ("1", "2", "4")] == pytest.approx([1 / 2, 11 / 18, 2 / 3])
    assert [hard["pass"][k]["value"] for k in ("1", "2", "4")] == pytest.approx([1 / 4, 1 / 2, 1])
    assert overall["mean_over_problems"]["avg"]["value"] == pytest.approx(7 / 16)
    assert overall["mean_over_sets"]["avg"]["value"] == pytest.approx(3 / 8)
    assert overall["mean_over_problems"]["pass"]["2"]["value"] == pytest.approx((0 + 5 / 6 + 1 + 1 / 2) / 4)
    # Three problems: with chance 1/27 each, all draws are the worst or the best one.
    assert (sums["avg"]["low"], sums["avg"]["high"]) == (0, 1)
    assert hard["avg"]["low"] == hard["avg"]["high"] == 0.25
    assert (sums["problems"], sums["responses"], overall["problems"], overall["responses"]) == (3, 12, 4, 16)
    assert sums["length"] == {"mean": 6.5, "p5": 1.55, "p25": 3.75, "p50": 6.5, "p75": 9.25, "p95": 11.45, "max": 12}
    assert (sums["truncated"], hard["truncated"], overall["truncated"]) == (0, 1 / 4, 1 / 16)
    statuses = {"equal": 6, "different": 4, "unparsable": 0, "too_long": 0, "timeout": 2, "worker_died": 0}
    assert sums["statuses"] == statuses
    assert overall["statuses"] == {**statuses, "equal": 7, "different": 6, "timeout": 3}
    assert [(p["set"], p["position"], p["label"], p["correct"]) for p in found["problems"]] == [
        ("sums", 0, "2", 0), ("sums", 1, "2", 2), ("sums", 2, "2", 4), ("hard", 0, "2", 1),
    ]  # fmt: skip


def test_tables():
    text = report.tables(result(COUNTS))
    lines = text.splitlines()
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == ["set", "problems", "Avg@4", "Pass@2", "Pass@4"]
    assert re.search(r"^\| sums +\| +3 \| 0.500 \[0.000, 1.000\] \| 0.611 \[0.000, 1.000\] \| 0.667 ", text, re.M)
    assert re.search(r"^\| all: mean over problems +\| +4 \| 0.438 ", text, re.M)
    assert re.search(r"^\| all: mean over sets +\| +4 \| 0.375 ", text, re.M)
    assert re.search(r"^\| all +\| +16 \| +8 \| .* 6.2% \| +7 \| +6 \| +0 \| +0 \| +3 \| +0 \|$", text, re.M)
    assert len({len(line) for line in lines[:6]}) == 1
    assert "width zero" in text  # of hard, which has one problem

    one = report.tables(result({"sums": [0, 1, 2, 3, 4]}))
    assert "all" not in one.split("Intervals")[0] and "width zero" not in one


def test_samples_are_drawn_by_seed_and_readable():
    counts = {"sums": [2] * 10}
    problems, prompts, records = evaluation(counts)
    hostile = "a ```` b\x1b[31m\n" + "x" * 10_000 + " end"
    records = {key: record._replace(response=hostile) for key, record in records.items()}
    text = report.samples(problems, prompts, records, seed=0)
    assert text == report.samples(problems, prompts, dict(reversed(records.items())), seed=0)
    assert text != report.samples(problems, prompts, records, seed=1)
    assert text.count("## sums: correct (20 of them)") == text.count("## sums: wrong (20 of them)") == 1
    shown = re.findall(r"^### sums, problem (\d+), response (\d+): (\w+)$", text, re.M)
    assert [status == "equal" for _, _, status in shown] == [True] * 3 + [False] * 3
    assert all((int(sample) < 2) == (status == "equal") for _, sample, status in shown)
    assert "\x1b" not in text and "\\x1b[31m" in text
    assert (
        text.count("`````\na ```` b") == 6 and text.count(" end\n`````\n") == 6
    )  # a fence that the response cannot close
    assert "[... 6018 characters left out ...]" in text and len(text) < 6 * 4500
    assert f"sums {shown[0][0]}?" in text and "Gold: `2`" in text and "Answer: `2`" in text


def test_comparison_by_hand():
    """sums: Avg differs by 1/4, 1/4, -1/4; Pass@2 of c = 0, 1, 2, 3, 4 is 0, 1/2, 5/6, 1, 1."""
    a, b = result(COUNTS), result({"sums": [1, 3, 3], "hard": [3]})
    found = compare(a, b)
    sums = found["sets"]["sums"]
    assert sums["avg"]["a"] == a["sets"]["sums"]["avg"] and sums["avg"]["b"] == b["sets"]["sums"]["avg"]
    assert sums["avg"]["difference"]["value"] == pytest.approx(1 / 12)
    assert (sums["avg"]["difference"]["low"], sums["avg"]["difference"]["high"]) == (-0.25, 0.25)
    assert not sums["avg"]["difference"]["resolved"]
    assert sums["pass"]["2"]["difference"]["value"] == pytest.approx((1 / 2 + 1 / 6 + 0) / 3)
    assert found["sets"]["hard"]["avg"]["difference"] == {"value": 0.5, "low": 0.5, "high": 0.5, "resolved": True}
    overall = found["overall"]
    assert overall["mean_over_problems"]["avg"]["difference"]["value"] == pytest.approx((1 / 4 + 1 / 2) / 4)
    assert overall["mean_over_sets"]["avg"]["difference"]["value"] == pytest.approx((1 / 12 + 1 / 2) / 2)
    assert found["notes"] == []
    text = comparison_text(found)
    assert re.search(r"^\| sums +\| +Avg \| 0.500 .* \| +\+0.083 \[-0.250, \+0.250\] \|$", text, re.M)
    assert compare(b, a)["sets"]["sums"]["avg"]["difference"]["value"] == pytest.approx(-1 / 12)


def test_differences_are_paired():
    """One more correct response to every problem: the difference is the same for each, whatever the spread of the problems."""
    counts = [i % 4 for i in range(40)]
    found = compare(result({"s": counts}), result({"s": [c + 1 for c in counts]}))["sets"]["s"]["avg"]
    assert found["difference"] == {"value": 0.25, "low": 0.25, "high": 0.25, "resolved": True}
    assert found["a"]["high"] - found["a"]["low"] > 0.1
    shuffled = compare(result({"s": counts}), result({"s": [4 - c for c in counts]}))["sets"]["s"]["avg"]
    assert shuffled["difference"]["high"] - shuffled["difference"]["low"] > 0.3


def test_what_differs_between_the_runs_is_said():
    a = result(COUNTS)
    b = result({"sums": [0, 1, 2], "hard": [2]}, n=2, temperature=0.6, unmarked="whole")
    a["versions"], b["versions"] = {"math-verify": "0.8.0", "torch": "1"}, {"math-verify": "0.9.0", "torch": "2"}
    for problem in b["problems"][:3]:
        problem["prompt_sha256"] = "other"
    found = compare(a, b)
    assert list(found["sets"]["sums"]["pass"]) == ["1", "2"]
    assert found["sets"]["sums"]["avg"]["difference"]["value"] == pytest.approx(0)
    assert found["notes"] == [
        "the prompts differ in 3 of 4 problems: another template?",
        "temperature differs: 1.0 in A, 0.6 in B",
        "unmarked differs: none in A, whole in B",
        "version of math-verify differs: 0.8.0 in A, 0.9.0 in B",
        "n differs: 4 in A, 2 in B; Avg and Pass@k estimate the same values with any n; k goes up to 2",
    ]
    assert all(f"note: {note}" in comparison_text(found) for note in found["notes"])


def test_problems_are_paired_by_position_and_not_by_their_place_in_the_file():
    a, b = result(COUNTS), result({"sums": [1, 3, 3], "hard": [3]})
    expected = compare(a, b)
    shuffled = {**b, "problems": b["problems"][::-1]}
    assert shuffled["problems"] != b["problems"]
    assert compare(a, shuffled) == expected


def test_intervals_without_width_are_explained_in_a_comparison_too():
    wide = {"s": [0, 1, 2, 3, 4, 0, 1]}
    other = {"s": [1, 0, 4, 4, 3, 0, 2]}
    assert "width zero" not in comparison_text(compare(result(wide, n=5), result(other, n=5)))
    alike = {"s": [2] * 7}
    for a, b in ((wide, alike), (alike, wide), (wide, wide)):
        assert "width zero" in comparison_text(compare(result(a, n=5), result(b, n=5)))


def test_a_set_may_have_any_name():
    lines = report.table(["set", "n"], [["a|b\nc", "1"], ["d", "2"]]).splitlines()
    assert len(lines) == 4 and len(set(map(len, lines))) == 1
    assert lines[2] == "| a\\|b c | 1 |"


def without(field):
    def damage(found):
        del found[field]

    return damage


def with_(value, *place):
    def damage(found):
        for key in place[:-1]:
            found = found[key]
        found[place[-1]] = value

    return damage


DAMAGES = [
    (without("settings"), "no 'settings'"),
    (without("problems"), "no 'problems'"),
    (without("model"), "no 'model'"),
    (with_([], "problems"), "it holds no problems"),
    (with_({}, "problems"), "problems is '{}', wanted is list"),
    (with_("4", "n"), "n is '4', wanted is int"),
    (with_(True, "n"), "n is 'True'"),
    (with_(0, "n"), "n is 0"),
    (with_({}, "settings"), "settings has no 'temperature'"),
    (with_(None, "versions"), "versions is 'None'"),
    (with_(5, "problems", 1, "correct"), "problem 2 of the list: 5 correct of 4"),
    (with_(-1, "problems", 1, "correct"), "problem 2 of the list: -1 correct of 4"),
    (with_(1.0, "problems", 1, "correct"), "problem 2 of the list: correct is '1.0'"),
    (with_("x", "problems", 0), "problem 1 of the list is not an object"),
    (with_({"set": "s", "position": 0}, "problems", 2), "problem 3 of the list: no 'label'"),
    (with_([1], "problems", 0, "set"), "problem 1 of the list: set is '[1]'"),
    (with_(0, "problems", 1, "position"), "a problem stands in it twice"),
]


@pytest.mark.parametrize(("damage", "says"), DAMAGES)
def test_damaged_results_are_refused(tmp_path, capsys, damage, says):
    found = result(COUNTS)
    (tmp_path / "whole.json").write_text(json.dumps(found))
    damage(found)
    (tmp_path / "damaged.json").write_text(json.dumps(found))
    with pytest.raises(SystemExit) as stop:
        cli.main(["eval", "--compare", str(tmp_path / "whole.json"), str(tmp_path / "damaged.json")])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and err.count("\n") == 1
    assert f"damaged.json: a damaged result of deltal eval: {says}" in err


def test_other_problems_are_refused():
    a = result(COUNTS)
    for other, says in (
        (result({"sums": [0, 2, 4]}), "different sets: hard, sums in A, sums in B"),
        (result({"sums": [0, 2], "hard": [1]}), "sums has 3 in A, 2 in B"),
    ):
        with pytest.raises(ValueError, match=says):
            compare(a, other)
    b = copy.deepcopy(a)
    b["problems"][1]["position"] = 7
    with pytest.raises(ValueError, match="problem 1 of sums is only in A"):
        compare(a, b)
    b = copy.deepcopy(a)
    b["problems"][1]["label"] = "3"
    with pytest.raises(ValueError, match="problem 1 of sums has the label '2' in A, '3' in B"):
        compare(a, b)


def test_compare_command(tmp_path, capsys):
    for name, counts in (("a", COUNTS), ("b", {"sums": [1, 3, 3], "hard": [3]})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(result(counts)))
    a, b = str(tmp_path / "a"), str(tmp_path / "b" / "results.json")
    assert cli.main(["eval", "--compare", a, b, "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "+0.083 [-0.250, +0.250]" in out
    assert out.startswith(f"A: m ({a}/results.json)  \nB: m ({b})\n")
    assert (tmp_path / "out" / "comparison.md").read_text() == out
    written = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert written["sets"]["sums"]["avg"]["difference"]["value"] == pytest.approx(1 / 12)
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "foreign.json").write_text("[1]")
    for path, says in (
        ("none.json", "no such file"), ("broken.json", "not JSON"), ("foreign.json", "not a result of deltal eval (format 1 or 2)"),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as stop:
            cli.main(["eval", "--compare", a, str(tmp_path / path)])
        err = capsys.readouterr().err
        assert stop.value.code == 2 and says in err and err.count("\n") == 1
