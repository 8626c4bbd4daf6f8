"""Countdown problems: solvable, seeded, disjoint; files as the host reads them; sources that are not what they should be."""

import json
import operator
import os
import subprocess
import sys
from fractions import Fraction
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deltal_openrlhf.cli.main import main
from deltal_openrlhf.data.countdown import base_prompt, chat_messages, generate, label, load, split_of
from deltal_openrlhf.data.output import Row, write


def solvable(values: tuple[Fraction, ...], target: int) -> bool:
    """Brute force over every way to combine two values."""
    if len(values) == 1:
        return values[0] == target
    for i, a in enumerate(values):
        for j, b in enumerate(values):
            if i == j:
                continue
            rest = tuple(v for k, v in enumerate(values) if k not in (i, j))
            for apply in (operator.add, operator.sub, operator.mul, operator.truediv):
                if not (apply is operator.truediv and b == 0) and solvable((*rest, apply(a, b)), target):
                    return True
    return False


def test_solver_knows_unsolvable():
    assert solvable((Fraction(3), Fraction(3), Fraction(8), Fraction(8)), 24)
    assert not solvable((Fraction(1), Fraction(1), Fraction(1)), 7)


@pytest.mark.parametrize("numbers", [3, 4])
def test_generated_problems_are_solvable(numbers):
    for problem in generate(30, num_numbers=(numbers, numbers), seed=1):
        assert len(problem.numbers) == numbers
        assert solvable(tuple(map(Fraction, problem.numbers)), problem.target), problem


def test_five_and_six_numbers_are_solvable():
    for problem in generate(4, num_numbers=(5, 6), low=1, high=9, max_target=50, seed=2):
        assert solvable(tuple(map(Fraction, problem.numbers)), problem.target), problem


def test_ranges():
    problems = generate(2000, num_numbers=(3, 6), low=2, high=20, max_target=30)
    assert {len(p.numbers) for p in problems} == {3, 4, 5, 6}
    assert all(2 <= n <= 20 for p in problems for n in p.numbers)
    assert {p.target for p in problems} == set(range(1, 31))


def test_seeded():
    assert generate(50, seed=3) == generate(50, seed=3)
    assert generate(50, seed=3) != generate(50, seed=4)


def test_train_and_test_disjoint_and_without_repeats():
    def keys(split, seed):
        problems = generate(500, num_numbers=(3, 3), low=1, high=12, seed=seed, split=split)
        found = {(tuple(sorted(p.numbers)), p.target) for p in problems}
        assert len(found) == len(problems)
        return found

    train, test = keys("train", 0), keys("test", 1)
    assert not train & test
    assert keys("train", 0) & keys("train", 1)  # the space is small enough that overlap would show


def test_split_is_stable_and_ignores_order():
    """The literal list guards every file written so far: another hash would move test problems into train."""
    code = "from deltal_openrlhf.data.countdown import *; print([t for t in range(1, 41) if split_of((1, 2, 3), t) == 'test'])"
    for hash_seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
        assert out.stdout.strip() == "[13, 15, 20, 32]", out.stderr
    assert all(split_of((3, 1, 2), t) == split_of((1, 2, 3), t) for t in range(1, 41))
    assert 0.18 < sum(split_of((1, 2, n), t) == "test" for n in range(100) for t in range(100)) / 10_000 < 0.22


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"n": -1}, "the number of problems is -1, allowed is 0 or more"),
        ({"split": "dev"}, "split is 'dev', allowed are train, test"),
        ({"num_numbers": (4, 3)}, "the ranges must be"),
        ({"num_numbers": (0, 3)}, "the ranges must be"),
        ({"low": 5, "high": 4}, "the ranges must be"),
        ({"low": 0}, "the ranges must be"),
        ({"max_target": 0}, "the ranges must be"),
    ],
)
def test_bad_ranges(bad, says):
    with pytest.raises(ValueError, match=says):
        generate(**{"n": 1, **bad})


def test_too_few_problems_in_the_ranges():
    with pytest.raises(ValueError, match="found only"):
        generate(100, num_numbers=(2, 2), low=1, high=2, max_target=4)


def test_prompts():
    text = base_prompt((4, 5, 6), 34)
    assert "4, 5, 6" in text and "34" in text and "exactly once" in text
    assert text.startswith("A conversation between User and Assistant") and text.endswith("<think>")
    system, user = chat_messages((4, 5, 6), 34)
    assert (system["role"], user["role"]) == ("system", "user")
    assert "4, 5, 6" in user["content"] and "<answer>" in user["content"]


def test_file_as_the_host_reads_it(tmp_path):
    """OpenRLHF's own reader and prompt data set."""
    from openrlhf.datasets import PromptDataset
    from openrlhf.datasets.utils import blending_datasets

    problems = generate(20)
    data = SimpleNamespace(input_key="input", label_key="label", apply_chat_template=False, image_key="images")
    strategy = SimpleNamespace(
        print=lambda *_: None, is_rank_0=lambda: False, args=SimpleNamespace(data=data, use_ms=False)
    )
    (file,) = write({"train": [Row(base_prompt(*p), label(*p), "countdown") for p in problems]}, tmp_path, "jsonl")
    rows = PromptDataset(blending_datasets(str(file.path), None, strategy, max_count=12), None, strategy)
    assert len(rows) == 12
    for i, problem in enumerate(problems[:12]):
        assert rows[i] == ("countdown", base_prompt(*problem), label(*problem), None)


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return str(path)


def test_load_parquet(tmp_path):
    original = generate(200, num_numbers=(3, 4)) + generate(50, num_numbers=(3, 4), split="test")
    source = parquet(
        tmp_path / "x.parquet", target=[p.target for p in original], nums=[list(p.numbers) for p in original]
    )
    assert load(source) == {"train": original[:200], "test": original[200:]}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"nums": [[1, 2]]}, "no column 'target'"),
        ({"numbers": [[1, 2]], "target": [3]}, "no column 'nums'"),
        ({"nums": pa.array([], pa.list_(pa.int64())), "target": pa.array([], pa.int64())}, "no rows"),
        ({"nums": [["1", "2"]], "target": [3]}, "row 1"),
        ({"nums": [[1, 2], [1, 2]], "target": [3.0, 3.0]}, "row 1"),
        ({"nums": [[1, 2], None], "target": [3, 3]}, "row 2"),
        ({"nums": [[1, 2], []], "target": [3, 3]}, "row 2"),
        ({"nums": [[1, 2], [1, None]], "target": [3, 3]}, "row 2"),
        ({"nums": ["1 2"], "target": [3]}, "row 1"),
    ],
)
def test_load_bad_parquet(tmp_path, columns, message):
    with pytest.raises(ValueError, match=message) as caught:
        load(parquet(tmp_path / "x.parquet", **columns))
    assert "\n" not in str(caught.value)


def test_load_no_parquet(tmp_path):
    (tmp_path / "x.parquet").write_text("not parquet\n" * 100)
    for name in ("x.parquet", "missing.parquet", "."):
        with pytest.raises(ValueError) as caught:
            load(str(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_load_unreachable_hub(tmp_path, monkeypatch):
    """In a process of its own: the client reads the switch at import."""
    code = "from deltal_openrlhf.data.countdown import *; load(HUB_NAME)"
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert out.returncode == 1
    assert out.stderr.splitlines()[-1].startswith(
        "ValueError: Jiayi-Pan/Countdown-Tasks-3to4: no local file, and not readable"
    )


def test_load_hub(monkeypatch):
    """What the hub's data set looks like, without the hub."""
    import datasets

    rows = datasets.Dataset.from_dict({"target": [98, 64], "nums": [[44, 19, 35], [63, 95, 96]]})
    monkeypatch.setattr(datasets, "load_dataset", lambda *key, split: {("a/b", None, "train"): rows}[(*key, split)])
    loaded = load("a/b")
    assert sorted(loaded["train"] + loaded["test"]) == [((44, 19, 35), 98), ((63, 95, 96), 64)]


def run(*words):
    return main(["data", "countdown", *map(str, words)])


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_command_line(format, tmp_path):
    words = ["--train", 30, "--test", 10, "--template", "chat", "--num_numbers", 3, 4, "--format", format]
    assert run("--out", tmp_path, *words) == 0
    for split, n in {"train": 30, "test": 10}.items():
        path = tmp_path / f"{split}.{format}"
        if format == "parquet":
            rows = pq.read_table(path).to_pylist()
        else:
            rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert len(rows) == n
        for row in rows:
            problem = json.loads(row["label"])
            assert split_of(problem["numbers"], problem["target"]) == split
            assert row["input"] == chat_messages(problem["numbers"], problem["target"])
            assert row["datasource"] == "countdown"
    assert len(list(tmp_path.iterdir())) == 2


def test_command_line_with_a_source(tmp_path):
    original = generate(40) + generate(10, split="test")
    source = parquet(
        tmp_path / "x.parquet", nums=[list(p.numbers) for p in original], target=[p.target for p in original]
    )
    assert run("--out", tmp_path, "--source", source, "--train", 40, "--test", 0) == 0
    labels = {json.loads(line)["label"] for line in (tmp_path / "train.jsonl").read_text().splitlines()}
    assert labels == {label(*p) for p in original[:40]}
    assert not (tmp_path / "test.jsonl").exists()


def test_repeats_of_a_source_are_dropped(tmp_path, capsys):
    """In another order of its numbers too, but not with another target."""
    original = generate(30, num_numbers=(3, 3))
    nums = [list(p.numbers) for p in original]
    nums += [numbers[::-1] for numbers in nums[:10]]
    source = parquet(tmp_path / "x.parquet", nums=nums, target=[p.target for p in original + original[:10]])
    assert run("--out", tmp_path, "--source", source, "--train", 31, "--test", 0) == 2
    assert "31 train problems wanted, there are 30" in capsys.readouterr().err
    assert run("--out", tmp_path, "--source", source, "--train", 30, "--test", 0) == 0
    assert "dropped that repeat an earlier one: train 10, test 0" in capsys.readouterr().out
    labels = {json.loads(line)["label"] for line in (tmp_path / "train.jsonl").read_text().splitlines()}
    assert labels == {label(*p) for p in original}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ([], "required: --out"),
        (["--out", "{}", "--template", "poem"], "invalid choice: 'poem'"),
        (["--out", "{}", "--train", "-1"], "'-1', allowed is a whole number, 0 or more"),
        (["--out", "{}", "--train", "many"], "'many', allowed is a whole number, 0 or more"),
        (["--out", "{}", "--train", "0", "--test", "0"], "nothing to write"),
        (["--out", "{}", "--low", "9", "--high", "1"], "the ranges must be"),
        (["--out", "{}", "--source", "{}/missing.parquet"], "No such file"),
        (["--out", "{}", "--source", "a/b", "--low", "2"], "--low is for generated problems"),
        (["--out", "/dev/null/x", "--train", "1"], "/dev/null/x: not writable: Not a directory"),
    ],
)
def test_command_line_bad_input(bad, says, tmp_path, capsys):
    try:
        status = run(*(word.format(tmp_path) for word in bad))
    except SystemExit as stopped:
        status = stopped.code
    error = capsys.readouterr().err
    assert (status, len(error.splitlines())) == (2, 1)
    assert says in error
    assert not list(tmp_path.iterdir())
