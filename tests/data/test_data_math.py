"""Math problems from every shape in which the known sets are published, and sources that are not what they should be."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deltal_openrlhf.data.math_problems import Problem, read_gsm8k, read_math
from deltal_openrlhf.data.sources import read_rows
from deltal_openrlhf.grading.labels import golds_of

EXPECTED = [Problem("What is $1+1$?", "2"), Problem("Solve $x^2=4$.", "\\pm 2")]
TEXTS = [(problem.text, problem.label) for problem in EXPECTED]
DAPO = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: $Answer (without "
    "quotes) where $Answer is the answer to the problem.\n\n",
    '\n\nRemember to put your answer on its own line after "Answer:".',
)
SHAPES = {
    "problem and answer": [{"problem": p, "answer": a, "difficulty": 1.0} for p, a in TEXTS],
    "question and answer": [{"question": f" {p}\n", "answer": f" {a} "} for p, a in TEXTS],
    "one message and final answer": [{"prompt": [{"from": "user", "value": p}], "final_answer": a} for p, a in TEXTS],
    "the final answer before the answer": [{"problem": p, "answer": "a proof", "final_answer": a} for p, a in TEXTS],
    "chat message": [{"prompt": [{"role": "user", "content": p}], "answer": a} for p, a in TEXTS],
    "list with one answer": [{"question": p, "final_answer": [a], "context": None} for p, a in TEXTS],
    "the answer boxed in the solution (MATH)": [
        {"problem": p, "level": "Level 1", "type": "Algebra", "solution": rf"First \boxed{{x}}. So \boxed{{{a}}}."}
        for p, a in TEXTS
    ],
    "messages and a ground truth (DAPO, verl)": [
        {
            "data_source": "math_dapo",
            "prompt": [
                {
                    "role": "user",
                    "content": f"{DAPO[0]}{p}{DAPO[1]}",
                }
            ],
            "reward_model": {"ground_truth": a, "style": "rule-lighteval/MATH_v2"},
            "extra_info": {"index": "1"},
        }
        for p, a in TEXTS
    ],
    "a conversation with its answer": [
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": p}], "answer": a}
        for p, a in TEXTS
    ],
    "a conversation with a solution": [
        {"messages": [{"role": "user", "content": p}, {"role": "assistant", "content": f"Hm.\n#### {a}"}]}
        for p, a in TEXTS
    ],
    "an answer in a box": [{"problem": p, "answer": rf"$\boxed{{{a}}}$"} for p, a in TEXTS],
}
PAIRS = [
    [{"from": "human", "value": p}, {"from": "assistant", "ground_truth": {"value": a, "pass_at_n": 0.5}}]
    for p, a in TEXTS
]


def save(rows, path):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        # A blank line at the end, a byte order mark, and a character at which str.splitlines would break a row.
        path.write_text(
            "\ufeff" + "\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n\n", encoding="utf-8"
        )
    else:
        path.write_text(json.dumps(rows, indent=1))
    return str(path)


@pytest.mark.parametrize("suffix", ["json", "jsonl", "parquet"])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape, suffix, tmp_path):
    assert read_math(save(SHAPES[shape], tmp_path / f"x.{suffix}")) == EXPECTED


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_pairs_of_messages(suffix, tmp_path):
    assert read_math(save(PAIRS, tmp_path / f"x.{suffix}")) == EXPECTED


def test_pairs_of_messages_as_the_hub_gives_them(tmp_path, monkeypatch):
    """The hub's file is a list of pairs; the real reader of `datasets` makes columns "0" and "1" of it."""
    import datasets

    path = save(PAIRS, tmp_path / "x.json")
    asked = []

    def load_dataset(name, config, split, real=datasets.load_dataset):
        asked.append((name, config, split))
        return real("json", data_files=path, split="train", cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert read_math("owner/name") == read_math("owner/name:main@test") == EXPECTED
    assert asked == [("owner/name", None, "train"), ("owner/name", "main", "test")]


def test_one_object_a_line_in_a_json_file(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("\n".join(map(json.dumps, SHAPES["problem and answer"])))
    assert read_math(str(path)) == EXPECTED


def test_line_separator_inside_a_text(tmp_path):
    source = save([{"problem": "a\u2028b\u0085c", "answer": "1"}], tmp_path / "x.jsonl")
    assert read_math(source) == [Problem("a\u2028b\u0085c", "1")]


@pytest.mark.parametrize(
    ("answer", "golds"),
    [
        (142.0, ("142",)),
        (-4.0, ("-4",)),
        (0.5, ("0.5",)),
        (1e-7, ("0.0000001",)),
        (10**20, ("1" + "0" * 20,)),
        (" n = 4 \n", ("n = 4",)),
        (["-\\frac{1}{3}\n", "-1/3\n"], ("-\\frac{1}{3}", "-1/3")),
        (["2\n", "2"], ("2",)),
        (["(3,2),(-3,2)"], ("(3,2),(-3,2)",)),
        ([1.0, 2.5], ("1", "2.5")),
        ("[1, 2]", ("[1, 2]",)),
    ],
)
def test_golds(answer, golds, tmp_path):
    (problem,) = read_math(save([{"problem": "p", "answer": answer}], tmp_path / "x.jsonl"))
    assert golds_of(problem.label) == golds


def test_context_stands_before_the_question(tmp_path):
    rows = [{"context": "Let $T=3$.", "question": "Find $2T$.", "final_answer": ["6"]}]
    assert read_math(save(rows, tmp_path / "x.json")) == [Problem("Let $T=3$.\nFind $2T$.", "6")]


@pytest.mark.parametrize(("end", "label"), [("#### 72", "72"), ("####1,234,000 ", "1234000"), ("#### -3.5", "-3.5")])
def test_gsm8k(end, label, tmp_path):
    rows = [{"question": "How many?", "answer": f"First #### is no answer.\n<<1+1=2>>2\n{end}"}]
    assert read_gsm8k(save(rows, tmp_path / "x.jsonl")) == [Problem("How many?", label)]


@pytest.mark.parametrize("answer", ["72", "#### ", "#### seven", "#### 1 and 2", 72, None])
def test_gsm8k_without_a_final_number(answer, tmp_path):
    good = {"question": "q", "answer": "#### 1"}
    with pytest.raises(ValueError, match="row 2: the answer must"):
        read_gsm8k(save([good, {"question": "q", "answer": answer}], tmp_path / "x.jsonl"))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (
            {"problem": "p", "level": 3},
            "reward_model with a ground_truth, or solution; it has problem, level",
        ),
        ({"problem": "p", "solution": "So 3."}, r"the solution marks no answer, by \boxed{} or ####: 'So 3.'"),
        ({"problem": "p", "solution": None}, "the solution must be a non-empty text, got None"),
        (
            {"prompt": "p", "reward_model": {"style": "rule"}},
            "no column final_answer or answer, reward_model with a ground_truth",
        ),
        ({"prompt": "p", "reward_model": {"ground_truth": None}}, "the answer must be a non-empty text, got None"),
        (
            {"messages": [{"role": "user", "content": "p"}]},
            "the messages must hold one message of the assistant, got 0",
        ),
        (
            {"messages": [{"role": "user", "content": "p"}] * 2, "answer": "1"},
            "the messages must hold one message of the user, got 2",
        ),
        ({"text": "p", "answer": "1"}, "no column problem or question or prompt or messages; it has text, answer"),
        ({}, "no column problem or question or prompt or messages; it has none"),
        ({"problem": 5, "answer": "1"}, "the problem must be a non-empty text, got 5"),
        ({"problem": " \n", "answer": "1"}, "the problem must be a non-empty text"),
        ({"problem": None, "answer": "1"}, "the problem must be a non-empty text, got None"),
        ({"problem": "\ud800", "answer": "1"}, "the problem holds half a surrogate pair"),
        ({"prompt": [], "answer": "1"}, "the prompt must hold one message of the user, got 0"),
        (
            {"prompt": [{"value": "a"}, {"value": "b"}], "answer": "1"},
            "the prompt must hold one message of the user, got 0",
        ),
        ({"prompt": ["p"], "answer": "1"}, "the prompt must be a text or a list of messages, got ['p']"),
        ({"prompt": [{"from": "user"}], "answer": "1"}, "the problem must be a non-empty text, got None"),
        ({"problem": "p", "answer": True}, "the answer must be a non-empty text, got True"),
        ({"problem": "p", "answer": ""}, "the answer must be a non-empty text"),
        ({"problem": "p", "answer": None}, "the answer must be a non-empty text, got None"),
        ({"problem": "p", "answer": {"value": "1"}}, "the answer must be a non-empty text"),
        ({"problem": "p", "answer": []}, "the list of answers is empty"),
        ({"problem": "p", "answer": ["1", None]}, "the answer must be a non-empty text, got None"),
        ({"problem": "p", "answer": float("nan")}, "the answer must be finite, got nan"),
        ({"problem": "p", "answer": '["1", "2"]'}, "would be read as a list of answers"),
        ({"problem": "p", "answer": '{"x": 1}'}, "the answer '{\"x\": 1}' cannot be graded: a countdown label is"),
        ({"problem": "p", "answer": '["1", '}, "cannot be graded: a math label starts like a JSON list but is not one"),
        ({"problem": "p", "answer": '["1", ' + "[" * 100_000}, "starts like a JSON list but is not one"),
        ({"problem": "p", "context": 3, "answer": "1"}, "the context must be a non-empty text, got 3"),
        ([{"value": "p"}, {"value": "1"}], "the second message has no ground_truth with a value"),
        ([{"value": "p"}, {"ground_truth": {}}], "the second message has no ground_truth with a value"),
        ([{"value": "p"}], "a list, wanted are columns or a pair of messages"),
        ("p", "a str, wanted are columns or a pair of messages"),
    ],
)
def test_bad_row(row, says, tmp_path):
    """The number of the bad row, whatever stands before it."""
    source = save([{"problem": "p", "answer": "1"}] * 2 + [row], tmp_path / "x.json")
    with pytest.raises(ValueError) as caught:
        read_math(source)
    assert str(caught.value).startswith(f"{source}: row 3: ") and says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.jsonl", b'{"a": 1}\n{"a": 2\n', "line 2: broken JSON"),
        ("x.jsonl", b'{"a": 1}\n\n{"a": "\xff"}\n', "line 3: not UTF-8 text"),
        ("x.json", b'[{"a": 1},\n{"a": 2}\n{"a": 3}]', "line 3: broken JSON"),
        ("x.json", b'{"a": 1}', "holds one dict, wanted is a list of rows"),
        ("x.json", b"[" * 100_000, "line 1: not readable as JSON"),
        ("x.json", b"[" + b"1" * 5000 + b"]", "line 1: not readable as JSON"),
        ("x.json", b"", "line 1: broken JSON"),
        ("x.json", b"[]", "holds no rows"),
        ("x.jsonl", b"\n\n", "holds no rows"),
        ("x.parquet", b"PAR1 not really", "not a readable parquet file"),
        ("x.txt", b"text", "a file of unknown type; allowed are a .json, .jsonl or .parquet file"),
    ],
)
def test_bad_file(name, content, says, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_rows(str(path))
    assert str(caught.value).startswith(f"{path}: ") and says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_parquet_without_rows(tmp_path):
    pq.write_table(pa.table({"problem": pa.array([], pa.string())}), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="holds no rows"):
        read_rows(str(tmp_path / "x.parquet"))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("missing.jsonl", "not readable: No such file"),
        ("missing", "no such file and no hub name"),
        ("a/b/c", "no such file and no hub name"),
        ("", "folder"),
        ("folder.json", "not readable: Is a directory"),
    ],
)
def test_no_file(source, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(ValueError, match=says):
        read_rows(source)


def test_hub_errors_are_one_line(monkeypatch):
    import datasets

    def load_dataset(*_, **__):
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(ValueError, match="^owner/name@test: no local file, and not readable from the hub: no route;"):
        read_rows("owner/name@test")


def test_solutions_are_no_answers(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"question": "1+1?", "answer": "1+1=2\n#### 2"}) + "\n")
    with pytest.raises(ValueError, match="row 1: the answer is a solution .* deltal data gsm8k"):
        read_math(str(path))
    assert read_gsm8k(str(path))[0].label == "2"


# ── Labels that no answer can meet ──


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("proof", "the gold answer 'proof' can be matched by no response"),
        ("Not  found.", "can be matched by no response"),
        ("$$", "can be matched by no response"),
        ("1+" * 1500 + "1", "the gold answer has 3,001 characters, allowed are 2,000"),
        (["2", "notfound"], "the gold answer 'notfound' can be matched by no response"),
    ],
)
def test_an_answer_that_no_response_can_give(answer, says, tmp_path):
    with pytest.raises(ValueError, match="cannot be graded: ") as caught:
        read_math(save([{"problem": "p", "answer": answer}], tmp_path / "x.json"))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("label", "golds"),
    [
        ("She has 2 and 1.\n#### 3", ("3",)),
        (r"We get $x = 3$, so \boxed{\frac{1}{2}} is it.", (r"\frac{1}{2}",)),
        (r'["\\boxed{3}", "4"]', ("3", "4")),
        ("#", ("#",)),
        (r"\boxed{", (r"\boxed{",)),
    ],
)
def test_a_label_that_is_a_solution_counts_by_its_answer(label, golds):
    assert golds_of(label) == golds


def test_bad_rows_are_left_out_on_demand(tmp_path):
    rows = [
        {"problem": "p", "answer": "1"},
        {"problem": "q", "answer": "proof"},
        {"problem": "r"},
        {"problem": "s", "answer": 2},
    ]
    skipped = []
    assert read_math(save(rows, tmp_path / "x.json"), skipped) == [Problem("p", "1"), Problem("s", "2")]
    assert [(bad.number, bad.row) for bad in skipped] == [(2, rows[1]), (3, rows[2])]
    assert "can be matched by no response" in skipped[0].why and "no column" in skipped[1].why
