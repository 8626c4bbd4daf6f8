"""Worked examples of countdown, GSM8K and math problems in front of every question."""

import re
from fractions import Fraction

import pytest
from support.data_files import jsonl, read

from deltal_openrlhf.cli.main import main
from deltal_openrlhf.data.countdown import generate, split_of
from deltal_openrlhf.data.countdown_steps import steps
from deltal_openrlhf.data.demos import math_demo
from deltal_openrlhf.data.math_problems import Problem
from deltal_openrlhf.grading.grader import Grader
from deltal_openrlhf.rewards.countdown import score
from deltal_openrlhf.rewards.scoring import response_of, submit

OPERATIONS = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a / b}


@pytest.fixture(scope="module")
def grader():
    """Its own, for its workers end with it: that of the process would leave them to other tests."""
    with Grader() as made:
        yield made


def deltal_data(task, tmp_path, *flags):
    assert main(["data", task, *map(str, flags), "--out", str(tmp_path / "out")]) == 0
    return {path.stem: read(path) for path in sorted((tmp_path / "out").glob("*.jsonl"))}


def turns(prompt):
    """[(question, reply), ...] of the demos and the question of a prompt of either kind."""
    if isinstance(prompt, list):
        contents = [message["content"] for message in prompt if message["role"] != "system"]
        return list(zip(contents[:-1:2], contents[1::2], strict=True)), contents[-1]
    *demos, last = [turn.partition("\nAssistant: ") for turn in prompt.split("\nUser: ")[1:]]
    return [(asked, said) for asked, _, said in demos], last[0]


def gsm8k(n, start=0):
    """Problems with two steps."""
    return [
        {
            "question": f"Ann has {i} pens and buys {i + 2} boxes of {7 * i + 3} pens. How many has she? (Case {i} of town {i * i})",
            "answer": f"The boxes hold {i + 2}*{7 * i + 3}=<<{i + 2}*{7 * i + 3}={(i + 2) * (7 * i + 3)}>>{(i + 2) * (7 * i + 3)} pens.\n"
            f"She has {i + (i + 2) * (7 * i + 3)} pens.\n#### {i + (i + 2) * (7 * i + 3):,}",
        }
        for i in range(start, start + n)
    ]


@pytest.mark.parametrize("template", ["base", "chat"])
def test_gsm8k(tmp_path, template, grader):
    train, test = jsonl(tmp_path / "a.jsonl", gsm8k(12)), jsonl(tmp_path / "b.jsonl", gsm8k(3, start=50))
    files = deltal_data("gsm8k", tmp_path, "--train", train, "--test", test, "--demos", 3, "--template", template)
    rows = [*files["train"], *files["test"]]
    shown = [turns(row["input"])[0] for row in rows]
    assert len(shown[0]) == 3 and all(one == shown[0] for one in shown)
    sources = {row["question"]: row["answer"] for row in gsm8k(12)}
    asked = [question.partition("\n")[0] for question, _ in shown[0]]
    assert len(set(asked)) == 3 and set(asked) <= set(sources)
    # What is shown is asked nowhere.
    own = [turns(row["input"])[1].partition("\n")[0] for row in rows]
    assert not set(own) & set(asked) and len(set(own)) == len(own)
    for question, (_, reply) in zip(asked, shown[0], strict=True):
        assert "<<" not in reply and "####" not in reply
        gold = sources[question].rpartition("#### ")[2].replace(",", "")
        assert re.search(r"The final answer is \\boxed\{(\d+)\}\.\Z", reply)[1] == gold
        assert sources[question].partition("=<<")[0] in reply
        assert submit(grader, reply, gold).result().equal
        assert ("</think>" in reply) == (template == "base")


def test_an_answer_in_the_prompt_is_not_graded(tmp_path, grader):
    train, test = jsonl(tmp_path / "a.jsonl", gsm8k(9)), jsonl(tmp_path / "b.jsonl", gsm8k(2, start=50))
    row = deltal_data("gsm8k", tmp_path, "--train", train, "--test", test, "--demos", 1)["test"][0]
    gold = re.search(r"\\boxed\{(\d+)\}", row["input"])[1]  # the demo's
    assert submit(grader, row["input"], gold).result().equal
    response = response_of(row["input"] + "I do not know.", row["input"])
    assert submit(grader, response, gold).result().status == "unparsable"


def test_demos_and_holdout_have_nothing_in_common(tmp_path):
    rows = gsm8k(30)
    rows += [{**row, "question": row["question"].replace("pens.", "pens!")} for row in rows[:10]]  # nearly the same
    train, test = jsonl(tmp_path / "a.jsonl", rows), jsonl(tmp_path / "b.jsonl", gsm8k(2, start=50))
    files = deltal_data("gsm8k", tmp_path, "--train", train, "--test", test, "--demos", 6, "--holdout", 8)
    asked = {question.partition("\n")[0] for question, _ in turns(files["train"][0]["input"])[0]}
    for rows in files.values():
        own = {turns(row["input"])[1].partition("\n")[0].replace("pens!", "pens.") for row in rows}
        assert not own & {question.replace("pens!", "pens.") for question in asked}


MATH = [
    {
        "problem": f"Find the sum of the digits of ${11 * i}$ and {i}.",
        "solution": rf"Add them: it is $\boxed{{{i + 5}}}$.",
    }
    for i in range(9)
]


@pytest.mark.parametrize("template", ["base", "chat"])
def test_math_with_solutions(tmp_path, template):
    files = deltal_data(
        "math", tmp_path, "--train", jsonl(tmp_path / "a.jsonl", MATH), "--eval", "--demos", 2, "--template", template
    )
    shown, _ = turns(files["train"][0]["input"])
    for _, reply in shown:
        assert len(re.findall(r"\\boxed", reply)) == (2 if template == "base" else 1) and reply.startswith(
            "Let me solve this step by step.\n<think>\nAdd them" if template == "base" else "Add them"
        )
    assert len(files["train"]) == 7


@pytest.mark.parametrize(
    ("solution", "reply"),
    [
        (r"So it is $\boxed{7}$.", r"So it is $\boxed{7}$."),
        ("So \\[\\boxed{7}.\\]\n", r"So \[\boxed{7}.\]"),
        (r"By $\boxed{7}$ we mean 3 + 4.", "By $\\boxed{7}$ we mean 3 + 4.\nThe final answer is \\boxed{7}."),
        ("It is 3 + 4.", "It is 3 + 4.\nThe final answer is \\boxed{7}."),
    ],
)
def test_a_reply_ends_in_its_answer(solution, reply):
    assert math_demo(Problem("What is 3 + 4?", "7", solution)).plain() == reply


@pytest.mark.parametrize(
    "rows",
    [
        [{"problem": f"p{i} {i * i}?", "answer": str(i)} for i in range(9)],
        [{**row, "answer": "999"} for row in MATH],  # solutions of other answers
    ],
)
def test_math_without_solutions_is_refused(tmp_path, capsys, rows):
    source = jsonl(tmp_path / "a.jsonl", rows)
    assert main(["data", "math", "--train", source, "--eval", "--demos", "2", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert (
        "--demos 2: no train problems come with a worked solution that marks no other answer than theirs" in said
        and said.count("\n") == 1
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("template", ["base", "chat"])
def test_countdown(tmp_path, template):
    flags = ["--train", 20, "--test", 5, "--template", template]
    files = deltal_data("countdown", tmp_path, *flags, "--demos", 4)
    rows = [*files["train"], *files["test"]]
    shown = [turns(row["input"])[0] for row in rows]
    assert len(shown[0]) == 4 and all(one == shown[0] for one in shown)
    own = [turns(row["input"])[1] for row in rows]
    for question, reply in shown[0]:
        numbers, target = re.search(r"numbers ([\d, ]+), write an equation that equals (\d+)", question).groups()
        numbers, target = [int(n) for n in numbers.split(", ")], int(target)
        assert split_of(numbers, target) == "train" and question not in own
        assert score(reply, numbers, target) == 1.0
        assert re.search(r"<think>\n(\S+ [-+*/] \S+ = \S+\n)+</think>\n<answer> ", reply)
    (tmp_path / "plain").mkdir()
    plain = deltal_data("countdown", tmp_path / "plain", *flags)
    assert [row["label"] for row in plain["train"]] == [row["label"] for row in files["train"]]


def test_countdown_from_a_source_and_too_many_numbers(tmp_path, capsys):
    problems = generate(40, num_numbers=(3, 4), seed=2)
    source = jsonl(tmp_path / "a.jsonl", [{"nums": list(p.numbers), "target": p.target} for p in problems])
    files = deltal_data("countdown", tmp_path, "--source", source, "--train", 30, "--test", 0, "--demos", 10)
    assert len(files["train"]) == 30
    flags = ["--num_numbers", "7", "7", "--train", "2", "--test", "0", "--demos", "1", "--out", str(tmp_path / "x")]
    assert main(["data", "countdown", *flags]) == 2
    assert "a train problem has 7 numbers, up to 6 are worked out" in capsys.readouterr().err


@pytest.mark.parametrize("problem", [((3, 3, 8, 8), 24), ((7,), 7), ((1, 5, 5, 5), 24), *generate(25, seed=4)])
def test_steps_use_each_number_and_result_once(problem):
    numbers, target = problem
    lines, expression = steps(numbers, target)
    assert score(f"<answer>{expression}</answer>", numbers, target) == 1.0
    left = [Fraction(n) for n in numbers]
    for line in lines:
        a, sign, b, _, value = line.split()
        a, b, value = Fraction(a), Fraction(b.strip("()")), Fraction(value)
        left.remove(a)
        left.remove(b)
        assert OPERATIONS[sign](a, b) == value
        left.append(value)
    assert left == [target]


def test_no_steps_where_there_are_none():
    with pytest.raises(ValueError, match="99 cannot be made of 2, 2, 2"):
        steps((2, 2, 2), 99)
