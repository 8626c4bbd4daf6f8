"""`deltal data reasoning-gym`: problems, their order, labels that the reward takes, and what is refused."""

import datetime
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from support.data_files import read, save_tokenizers

from deltal_openrlhf.cli.main import main
from deltal_openrlhf.data import gym_problems
from deltal_openrlhf.data.gym_files import _made, configs_of, running_total
from deltal_openrlhf.grading.grader import Grader
from deltal_openrlhf.rewards import gym_library
from deltal_openrlhf.rewards.gym_labels import read_label
from deltal_openrlhf.rewards.scoring import check_label, submit

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "data.md"
TWO = ["--task", "chain_sum, gcd", "--config", "max_terms=3", "chain_sum.max_digits=2", "--train", "41", "--test", "9"]
CHANGING = ("isomorphic_strings", "list_functions", "polynomial_multiplication", "time_intervals", "word_ladder")
"""Tasks whose problems depend on more than the library's seed: Python's hashes, its own generator, the day."""


@pytest.fixture(scope="module")
def grader():
    """Its own, for its workers end with it: that of the process would leave them to other tests."""
    with Grader() as made:
        yield made


def made(tmp_path, *flags):
    out = tmp_path / "out"
    assert main(["data", "reasoning-gym", *flags, "--out", str(out)]) == 0
    return {name: read(out / f"{name}.jsonl") for name in ("train", "test") if (out / f"{name}.jsonl").exists()}


def text(row):
    return row["input"] if isinstance(row["input"], str) else row["input"][-1]["content"]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return made(tmp_path_factory.mktemp("two"), *TWO)


def test_files_of_two_tasks(two, grader):
    files = two
    assert {name: Counter(row["datasource"] for row in rows) for name, rows in files.items()} == {
        "train": {"chain_sum": 21, "gcd": 20},
        "test": {"chain_sum": 5, "gcd": 4},
    }
    rows = [*files["train"], *files["test"]]
    assert len({text(row) for row in rows}) == len(rows) == 50
    assert [row["datasource"] for row in files["train"]] != sorted(row["datasource"] for row in files["train"])
    for row in rows:
        label = read_label(row["label"])
        assert label.task == row["datasource"] and set(row) == {"input", "label", "datasource"}
        assert label.config == ({"max_terms": 3, "max_digits": 2} if label.task == "chain_sum" else {})
        check_label(row["label"])
        assert "<answer> </answer>" in text(row) and text(row).endswith("<think>")
        if label.task == "chain_sum":  # an independent answer
            expression = re.search(r"problem: (.*) =\n", text(row))[1]
            assert len(expression.split()) <= 5 and label.answer == str(
                sum(map(int, re.sub(r"([+-]) ", r"\1", expression).split()))
            )
    grades = [submit(grader, f"<answer>{read_label(row['label']).answer}</answer>", row["label"]) for row in rows]
    assert all(grade.result().equal for grade in grades)
    grades = [submit(grader, f"<answer>{read_label(row['label']).answer}1</answer>", row["label"]) for row in rows]
    assert not any(grade.result().equal for grade in grades)


def test_one_seed_makes_the_same_files_and_another_does_not(tmp_path, two):
    said_twice = ["--task", "chain_sum", "--task", "gcd", *TWO[2:]]
    assert made(tmp_path, *said_twice) == two
    questions = [
        [line["question"] for line in gym_problems.problems("gcd", {}, {"train": 9}, seed) if "question" in line]
        for seed in (0, 1)
    ]
    assert not set(questions[0]) & set(questions[1])


def test_problems_do_not_depend_on_the_process(monkeypatch):
    requests = [(task, {}, {"train": 3, "test": 1}) for task in CHANGING]
    monkeypatch.setenv("PYTHONHASHSEED", "1")  # the caller's, which counts in the direct call only
    lines = list(_made(requests, 5))
    assert sum("label" in line for line in lines) == 4 * len(CHANGING)
    assert not any(datetime.date.today().isoformat() in line.get("label", "") for line in lines)
    direct = {}
    for hash_seed in ("0", "1"):
        monkeypatch.setenv("PYTHONHASHSEED", hash_seed)
        asked = json.dumps({"requests": requests, "seed": 5})
        command = [sys.executable, "-m", "deltal_openrlhf.data.gym_problems"]
        said = subprocess.run(command, input=asked, capture_output=True, text=True, check=True, timeout=100).stdout
        direct[hash_seed] = list(map(json.loads, said.splitlines()))
    assert direct["0"] == lines != direct["1"]


def test_repeats_and_problems_of_test_are_left_out_and_counted():
    lines = list(gym_problems.problems("chain_sum", {"max_terms": 2, "max_digits": 1}, {"test": 60, "train": 60}, 0))
    questions = [line["question"] for line in lines[:-1]]
    assert len(set(questions)) == len(questions) == 120
    assert lines[-1]["repeats"] > 0 and lines[-1]["in_test"] > 0 and lines[-1]["unfit"] == 0
    # Count them once more: the library's problems of the same seeds, in their order, until 60 new ones are there.
    known, counts = {}, Counter()
    for split in ("test", "train"):
        config = {"max_terms": 2, "max_digits": 1}
        made = gym_library.data_set("chain_sum", config, size=500, seed=gym_problems.seed_of(0, "chain_sum", split, 0))
        for i in range(500):
            if list(known.values()).count(split) == 60:
                break
            counts[known.get(made[i]["question"])] += 1
            known.setdefault(made[i]["question"], split)
    own = [line for line in lines[:-1] if line["split"] == "train"]
    assert {line["question"] for line in own} == {question for question, split in known.items() if split == "train"}
    assert (lines[-1]["repeats"] + lines[-1]["in_test"], counts[None]) == (counts["test"] + counts["train"], 120)


def test_too_few_problems_are_said():
    with pytest.raises(ValueError, match="chain_sum: found only 200 different train problems, not 300"):
        list(gym_problems.problems("chain_sum", {"max_terms": 2, "max_digits": 1}, {"train": 300}, 0))


def test_problems_that_their_scorer_fails_are_left_out():
    *kept, last = gym_problems.problems("intermediate_integration", {}, {"train": 12}, 3)
    assert len(kept) == 12 and last["unfit"] > 0 and "once the problem has been in a file" in last["why"]
    assert not any("Integral" in read_label(line["label"]).answer for line in kept)


def test_a_scorer_that_pays_for_other_answers_is_refused():
    with pytest.raises(ValueError, match="puzzle24 cannot be used: its scorer gives the answers of other problems the"):
        list(gym_problems.problems("puzzle24", {}, {"train": 1}, 0))
    entry = next(gym_problems._entries("puzzle24", {}, 0))
    assert "other problems" in gym_problems.tried("puzzle24", {}, entry, ["6*4*1*1"])[1]
    assert gym_problems.tried("puzzle24", {}, entry, [entry["answer"]])[1] == ""  # its own answer says nothing
    # Scorers that pay for right answers only, which many problems share.
    for task in ("countdown", "gcd", "leg_counting"):
        *lines, last = gym_problems.problems(task, {}, {"train": 30}, 0)
        assert (len(lines), last["unfit"]) == (30, 0)


def test_a_process_that_ends_within_a_line(tmp_path, monkeypatch):
    folder = tmp_path / "deltal_openrlhf" / "data"
    folder.mkdir(parents=True)
    for package in (folder, folder.parent):
        (package / "__init__.py").touch()
    line = json.dumps({"task": "gcd", "label": "1"})
    code = "import sys\nsys.stdin.read()\nsys.stdout.write({!r})\nsys.stdout.flush()\nsys.exit('the last words')\n"
    monkeypatch.setattr("deltal_openrlhf.data.gym_files._PACKAGE_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # python -m looks there first
    for said in (f"{line}\n", f"{line}\n{line[:9]}", f"{line}\n{line}"):
        (folder / "gym_problems.py").write_text(code.format(said))
        lines = []
        with pytest.raises(ValueError, match="ended with exit code 1: the last words"):
            for found in _made([], 0):
                lines.append(found)
        assert lines == [json.loads(line)]


def test_every_task_works_from_its_file_or_is_refused_and_listed():
    """Each task of the library, by its oracle and two wrong answers; the page lists those that are refused."""
    refused = set()
    for task in gym_library.load():
        try:
            *lines, _ = gym_problems.problems(task, {}, {"train": 1}, 1)
        except ValueError as error:
            assert str(error).startswith(f"{task} cannot be used: ")
            refused.add(task)
        else:
            assert len(lines) == 1
    listed = set(
        re.findall(
            r"`(\w+)`", PAGE.read_text(encoding="utf-8").partition("These tasks are refused")[2].partition("### ")[0]
        )
    )
    assert refused | {"zebra_puzzles"} == listed and {"arc_agi", "game_of_life_halting", "rush_hour"} <= listed


@pytest.mark.parametrize("template", ["base", "chat"])
def test_demos_are_worked_train_problems(tmp_path, capsys, template):
    save_tokenizers(tmp_path)
    tokenizer = str(tmp_path / ("chat" if template == "chat" else "plain"))
    files = made(
        tmp_path, *TWO, "--template", template, "--demos", "3", "--tokenizer", tokenizer, "--max_prompt_tokens", "400"
    )
    said = capsys.readouterr().out
    assert (
        "chain_sum: left out" in said
        and "answers by kind" not in said
        and "test: dropped 0 longer than 400 tokens" in said
    )
    (longest,) = re.findall(r"train\.jsonl .* ([\d,]+)\n", said)
    assert {name: len(rows) for name, rows in files.items()} == {"train": 41, "test": 9}
    rows = [*files["train"], *files["test"]]
    if template == "chat":
        heads = [row["input"][:-1] for row in rows]
        assert [message["role"] for message in heads[0]] == ["user", "assistant"] * 3
        asked, said = [m["content"] for m in heads[0][::2]], [m["content"] for m in heads[0][1::2]]
    else:
        heads = [row["input"].rpartition("\nUser: ")[0] for row in rows]
        turns = [turn.partition("\nAssistant: ") for turn in heads[0].split("\nUser: ")[1:]]
        asked, said = [turn[0] for turn in turns], [turn[2] for turn in turns]
        assert all(
            reply.startswith("Let me solve this step by step.\n<think>\n") and "\n</think>\n" in reply for reply in said
        )
    whole = (
        [" ".join(f"<{m['role']}> {m['content']}" for m in row["input"]) + " <assistant> ok" for row in rows]
        if template == "chat"
        else [row["input"] for row in rows]
    )
    assert int(longest) == max(len(prompt.split()) for prompt in whole[:41])  # words are the tokens, the demos' too
    assert len(asked) == 3 and all(head == heads[0] for head in heads)
    assert [("arithmetic" in question) for question in asked] == [True, False, True]  # a task after the other
    assert not set(asked) & {
        row["input"].rpartition("\nUser: ")[2] if template == "base" else text(row) for row in rows
    }
    for question, reply in zip(asked, said, strict=True):
        answer = re.search(r"<answer>(-?\d+)</answer>\Z", reply)[1]
        if "arithmetic" not in question:
            continue
        first, *terms = re.search(r"problem: (.*) =\n", question)[1].split()
        total = int(first)
        lines = [line for line in reply.splitlines() if "=" in line]
        for sign, term, line in zip(terms[::2], terms[1::2], lines, strict=True):
            after = total + int(term) if sign == "+" else total - int(term)
            assert line == f"{total} {sign} {term} = {after}"
            total = after
        assert answer == str(total)


def test_a_running_total():
    assert running_total("12 + 45 - 13") == "12 + 45 = 57\n57 - 13 = 44"
    assert running_total("3 - -5") == "3 - -5 = 8"
    assert running_total("7") == ""


REFUSED = {
    "--task chain_sums": "'chain_sums' is no task of reasoning-gym; the nearest known one is 'chain_sum'",
    "--task chain_sum,chain_sum": "chain_sum is named twice",
    "--task composite": "composite is a mixture of other tasks",
    "--task chain_sum --config max_term=3": "has no field 'max_term'; the nearest known one is 'max_terms'",
    "--task chain_sum --config max_terms=x": "--config max_terms=x: chain_sum: allowed is a whole number",
    "--task chain_sum --config max_terms=2.5": "allowed is a whole number",
    "--task chain_sum --config max_terms=1": "max_terms must be >= min_terms",
    "--task chain_sum --config allow_negation=3": "allowed is true or false",
    "--task chain_sum --config seed=1": "seed comes from --seed, --train and --test",
    "--task chain_sum --config gcd.max_terms=1": "'gcd' is not in --task",
    "--task chain_sum --config max_terms": "wanted is NAME=VALUE or TASK.NAME=VALUE",
    "--task chain_sum --config max_terms=2 max_terms=3": "max_terms is set twice",
    "--task basic_arithmetic --config operators=+,%": "unsupported operator: %",
    "--task basic_arithmetic --config whitespace=double": "allowed are no_space, single, random",
    "--task word_sorting --config transformation=upper": "allowed are lowercase, uppercase",
    "--task time_intervals --config min_date=2020-01-01": "of a type that cannot be set here",
    "--task chain_sum --train 0 --test 0": "nothing to write",
    "--task chain_sum,gcd --test 1": "--test is 1, allowed are 0 and 2 or more",
    "--task rush_hour --train 2 --test 2": "rush_hour cannot be used: the library gives no answer of its own",
    "--task chain_sum --skip_bad": "unrecognized arguments: --skip_bad",
}


@pytest.mark.parametrize("flags", REFUSED)
def test_what_does_not_fit_is_said_before_anything_is_written(tmp_path, capsys, flags):
    try:
        status = main(["data", "reasoning-gym", *flags.split(), "--out", str(tmp_path / "out")])
    except SystemExit as ended:
        status = ended.code
    said = capsys.readouterr().err
    assert status == 2 and REFUSED[flags] in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_values_of_every_kind():
    words = [
        "operators=+,-",
        "whitespace=single",
        "allow_negation=false",
        "transformation=uppercase",
        "word_sorting.max_words=3",
    ]
    assert configs_of(["basic_arithmetic", "word_sorting"], words) == {
        "basic_arithmetic": {"operators": ["+", "-"], "whitespace": "single", "allow_negation": False},
        "word_sorting": {"transformation": "uppercase", "max_words": 3},
    }
    # A value for one task stands before that for all.
    words = ["max_digits=3", "chain_sum.max_digits=2"]
    for order in (words, words[::-1]):
        assert configs_of(["chain_sum", "products"], order) == {
            "chain_sum": {"max_digits": 2},
            "products": {"max_digits": 3},
        }
