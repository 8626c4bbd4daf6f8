"""The reward of reasoning-gym tasks: full marks of the library's own scorers, which read a model's text without running it."""

import json
import os
import subprocess
import sys
import time

import pytest
from support.reward_command import running

from deltal_openrlhf.grading.grader import STATUSES, Grader
from deltal_openrlhf.rewards import gym_expressions, gym_labels, gym_library, gym_scorer
from deltal_openrlhf.rewards.reward_file import load_reward_function
from deltal_openrlhf.rewards.scoring import check_label, submit_answer

SUM = gym_labels.label_of("chain_sum", {}, "44", {"expression": "12 + 32"})
MATRIX = gym_labels.label_of("binary_matrix", {}, "0 1\n1 0", {})
PRODUCT = gym_labels.label_of("polynomial_multiplication", {}, "x**2 - 1", {})
INTEGRAL = gym_labels.label_of("simple_integration", {}, "x**2 + C", {"variable": "x", "integrand": "2*x"})
SPELLING = gym_labels.label_of("string_insertion", {}, "ABC", {})
PRIMES = gym_labels.label_of("prime_factorization", {}, "2 × 3", {"factors": [2, 3]})
COUNTDOWN = json.dumps({"numbers": [1, 2, 3], "target": 9})


@pytest.fixture(scope="module")
def reward():
    return load_reward_function("--reward.remote_url", "deltal:reasoning-gym")


def scored(reward, response, label, prompt="What is it? "):
    """(reward, mark, status) of one response."""
    given = reward([prompt + response], [prompt], [label])
    logs = {name: value.item() for name, value in given["extra_logs"].items()}
    mark = logs.pop("grade/mark")
    assert set(logs) == {f"grade/{status}" for status in STATUSES}
    (status,) = [name.removeprefix("grade/") for name, flag in logs.items() if flag == 1.0]
    assert given["rewards"].item() == given["scores"].item()
    return given["rewards"].item(), pytest.approx(mark), status


@pytest.mark.parametrize(
    ("response", "label", "expected"),
    [
        ("12 + 32 = 44\n<answer>44</answer><|im_end|>", SUM, (1, 1, "equal")),
        ("<answer> +44.0 </answer>", SUM, (1, 1, "equal")),
        ("<answer>45</answer> no, <answer>44</answer>", SUM, (1, 1, "equal")),
        ("<answer>44</answer> no, <answer>45</answer>", SUM, (0, 0, "different")),
        ("<answer>45</answer><|im_end|><answer>44</answer>", SUM, (0, 0, "different")),  # another turn
        (
            "<answer>44 45 46 47</answer>",
            SUM,
            (0, 2 / 11, "different"),
        ),  # the library pays for any text with the answer
        ("44", SUM, (0, 0, "unparsable")),
        ("<answer></answer>", SUM, (0, 0, "unparsable")),
        ("<think><answer>44</answer>", SUM, (0, 0, "unparsable")),
        ("<answer>[[0, 1], [1, 0]]</answer>", MATRIX, (0, 0.1, "different")),
        ("<answer>['A', 'B', 'C']</answer>", SPELLING, (0, 0.1, "different")),
        ("<answer>-1 + x^2</answer>", PRODUCT, (0, 0, "different")),  # ^ is not a power to this scorer
        ("<answer>x*x - 1</answer>", PRODUCT, (1, 1, "equal")),
        ("<answer>x**2 + 7</answer>", INTEGRAL, (1, 1, "equal")),
        ("<answer>Integral(2*x, x)</answer>", INTEGRAL, (0, 0, "different")),  # the question again
        ("<answer>zebra</answer>", PRIMES, (0, 0, "unparsable")),  # the scorer raises
        ("<answer>" + "4" * 1_000_000 + "</answer>", SUM, (0, 0, "too_long")),
    ],
)
def test_full_marks_are_1_and_all_else_is_0(reward, response, label, expected):
    assert scored(reward, response, label) == expected


def test_worked_examples_in_the_prompt_are_no_answer(reward):
    prompt = "User: 40 + 4\nAssistant: <answer>44</answer>\nUser: 12 + 32\nAssistant:"
    assert scored(reward, " I do not know", SUM, prompt) == (0, 0, "unparsable")
    assert scored(reward, " <answer>44</answer>", SUM, prompt) == (1, 1, "equal")
    with pytest.raises(ValueError, match="does not start with its prompt"):
        reward(["<answer>44</answer>"], [prompt], [SUM])


HARMFUL = (
    "__import__('os').system('touch {path}')",
    "[__import__('os').system('touch {path}')]",
    "open('{path}', 'w')",
    "().__class__.__base__.__subclasses__()",
    "(lambda: open('{path}', 'w'))()",
    "[x for x in [1]]",
    "sympify(1)",
    "x.__class__",
    "x. subs(x, 1)",
)


def test_no_answer_is_run(reward, tmp_path):
    path = tmp_path / "made"
    for text in HARMFUL:
        for label in (MATRIX, SPELLING, PRODUCT, INTEGRAL):
            earned, mark, _ = scored(reward, f"<answer>{text.format(path=path)}</answer>", label)
            assert (earned, mark) == (0, 0)
    assert not path.exists()


@pytest.mark.parametrize("text", HARMFUL)
def test_no_answer_is_run_where_the_kernel_would_let_it(tmp_path, text):
    """In this process, which is not confined."""
    path = tmp_path / "made"
    gym_library.load()
    answer = text.format(path=path)
    with pytest.raises((ValueError, SyntaxError)):
        gym_expressions.literal(answer)
    with pytest.raises(ValueError, match="expression"):
        gym_expressions.expression(answer)
    for label in (MATRIX, SPELLING, PRODUCT, INTEGRAL):
        assert not gym_scorer.grade([label], answer).startswith("equal")
    assert not path.exists()


def test_the_library_alone_runs_them(tmp_path):
    code = (
        "import sys, types\nsys.modules['pycosat'] = types.ModuleType('pycosat')\nimport reasoning_gym\n"
        "scorer = reasoning_gym.get_score_answer_fn(sys.argv[1])\n"
        "scorer(sys.argv[2], {'answer': '1', 'metadata': {'variable': 'x', 'integrand': '2*x'}})"
    )
    path = tmp_path / "made"
    command = [sys.executable, "-W", "ignore", "-c", code, "binary_matrix", HARMFUL[0].format(path=path)]
    subprocess.run(command, timeout=60, check=False, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    assert path.exists()


def test_what_takes_for_ever_ends_at_its_deadline():
    slow = {
        PRODUCT: ["9**9**9**9", "x**9**9**9", "(" * 400 + "x" + ")" * 400],
        MATRIX: ["[" * 900 + "]" * 900, "[1]*10**11", "9**9**9**9"],
    }
    with Grader(workers=1, deadline=1) as grader:
        began = time.monotonic()
        for label, answers in slow.items():
            for answer in answers:
                grade = submit_answer(grader, (label,), answer).result()
                assert (grade.equal, grade.mark) == (False, 0) and grade.status != "equal"
        assert submit_answer(grader, (PRODUCT,), "9**9**9**8").result().status == "timeout"
        assert time.monotonic() - began < 20
        assert submit_answer(grader, (SUM,), "44").result().equal


@pytest.mark.parametrize(
    ("text", "value"), [("[[1, -2], (3,), {4}]", [[1, -2], (3,), {4}]), ("{'a': 0x10 + 1}", {"a": 17}), (" 1/2 ", 0.5)]
)
def test_a_literal_has_its_value(text, value):
    assert gym_expressions.literal(text) == value


@pytest.mark.parametrize(
    ("label", "says"),
    [
        (
            SUM.replace("chain_sum", "chain_sums"),
            "'chain_sums' is no task of reasoning-gym; the nearest known one is 'chain_sum'",
        ),
        (SUM.replace("chain_sum", "composite"), "composite is a mixture of other tasks"),
        (
            SUM.replace('"config": {}', '"config": {"max_term": 3}'),
            "no field 'max_term'; the nearest known one is 'max_terms'",
        ),
        (SUM.replace('"config": {}', '"config": {"max_terms": "3"}'), "max_terms is '3', allowed is a whole number"),
        (SUM.replace('"config": {}', '"config": {"max_terms": 1}'), "max_terms must be >= min_terms"),
        (SUM.replace('"44"', "44"), "answer is '44'"),
        (SUM.replace('"44"', '" "'), "is empty"),
        (SUM.replace('"44"', f'"{"4" * 2001}"'), "has 2,001 characters, allowed are 2,000"),
        (SUM[:-1], "a reasoning-gym label is"),
        ('{"task": "chain_sum"}', "a reasoning-gym label is"),
        ('{"task": ' + "[" * 100_000, "a reasoning-gym label is"),
    ],
)
def test_broken_labels_are_refused(label, says):
    with pytest.raises(ValueError) as refused:
        check_label(label)
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_labels_of_other_tasks_are_told_apart(reward):
    check_label(SUM)
    check_label(COUNTDOWN)
    check_label(r"\{1, 2\}")
    assert not gym_labels.is_gym(COUNTDOWN) and not gym_labels.is_gym('the "task"') and gym_labels.is_gym(" " + SUM)
    for label in (COUNTDOWN, "44"):
        with pytest.raises(ValueError, match="a reasoning-gym label is"):
            reward(["<answer>44</answer>"], [""], [label])


def test_without_the_library_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(ValueError, match=r"this needs reasoning-gym: pip install 'deltal-openrlhf\[tasks\]'"):
        gym_library.load.__wrapped__()


def test_a_task_that_needs_another_package_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycosat", None)
    monkeypatch.setattr(
        "reasoning_gym.logic.contrib.logic_puzzle.sat_utils.pycosat.itersolve", gym_library._needs_pycosat
    )
    with pytest.raises(ValueError, match="pip install pycosat"):
        gym_library.data_set("zebra_puzzles", {})[0]


def test_the_service_and_the_command_serve_these_labels(tmp_path):
    prompt, responses = "<answer>1</answer> ", ["<answer>44</answer>", "<answer>44!</answer>", "44", r"\boxed{44}"]
    request = {"query": [prompt + r for r in responses], "prompts": [prompt] * 4, "labels": [SUM, SUM, SUM, "44"]}
    with running() as service:
        code, answer = service.ask("/get_reward", request)
        assert (code, answer["rewards"]) == (200, [1.0, 0.0, 0.0, 1.0])
        assert set(answer["extra_logs"]) == {f"grade/{status}" for status in STATUSES}
        for i in range(4):  # as a run asks, and joins what it gets by name
            alone = service.ask("/get_reward", {name: values[i : i + 1] for name, values in request.items()})[1]
            assert set(alone["extra_logs"]) == set(answer["extra_logs"])
        assert service.ask("/is_equal", {"str1": SUM, "str2": "44"})[1] == {
            "equal": True,
            "status": "equal",
            "mark": 1.0,
        }
        pairs = [{"gold": SUM, "pred": "45"}, {"gold": SUM, "pred": None}, {"gold": "44", "pred": "44"}]
        assert [grade["status"] for grade in service.ask("/grade_batch", pairs)[1]] == [
            "different",
            "unparsable",
            "equal",
        ]
        code, refused = service.ask("/grade_batch", [{"gold": [SUM, "1"], "pred": "44"}])
        assert code == 422 and "it has to stand alone" in refused["detail"]
        assert service.ask("/get_reward", {**request, "labels": [SUM[:-1]] * 4})[0] == 422

    rows = [
        {"gold": SUM, "pred": "It is <answer>44</answer>"},
        {"gold": [SUM, "1"], "pred": "44"},
        {"gold": "44", "pred": "#### 44"},
    ]
    file, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [
        sys.executable,
        "-m",
        "deltal_openrlhf.cli.main",
        "grade",
        str(file),
        "--out",
        str(out),
        "--unmarked",
        "none",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "line 2: gold is a list that holds a reasoning-gym label" in ended.stderr
    first, second = map(json.loads, out.read_text().splitlines())
    assert (first["status"], first["mark"]) == ("equal", 1.0) and second["equal"] and "mark" not in second


def test_a_mark_that_is_no_number_is_none(monkeypatch):
    monkeypatch.setattr(
        gym_scorer, "_data_set", lambda *_: type("Scorer", (), {"score_answer": lambda *_: float("nan")})()
    )
    assert gym_scorer.grade([SUM], "44") == "different 0.0"
