"""`deltal data math` and `gsm8k`: what is written and said."""

import hashlib
import json
import re
import subprocess
import sys

import pytest
from support.data_files import inputs, jsonl, problems, read, save_tokenizers

from deltal_openrlhf.cli.main import main
from deltal_openrlhf.data.templates import base_math, chat_math


@pytest.fixture
def tokenizer(tmp_path):
    """A folder with two tokenizers (support.data_files)."""
    save_tokenizers(tmp_path)
    return tmp_path


def test_math(tmp_path, capsys):
    train = [{"problem": f"Compute ${i}$.", "answer": str(i)} for i in range(10)]
    train += [{"problem": "compute  $3$", "answer": "3"}, {"problem": "Solve $x=1$", "answer": "1/2"}]
    source = jsonl(tmp_path / "t.jsonl", train)
    one = jsonl(
        tmp_path / "1.jsonl", [{"problem": "Compute $4$", "answer": [4.0, "four"]}, {"problem": "New", "answer": 1}]
    )
    two = jsonl(
        tmp_path / "2.jsonl", [{"problem": "compute $4$", "answer": 4}, {"problem": "Compute 5", "answer": "5"}]
    )
    out = tmp_path / "out"
    assert main(["data", "math", "--train", source, "--eval", f"one={one}", f"two={two}", "--out", str(out)]) == 0

    expected = {(base_math(f"Compute ${i}$."), str(i), "math") for i in (0, 1, 2, 3, 6, 7, 8, 9)}
    expected |= {(base_math("Solve $x=1$"), "1/2", "math")}
    assert {tuple(row.values()) for row in read(out / "train.jsonl")} == expected
    assert read(out / "one.jsonl") == [
        {"input": base_math("Compute $4$"), "label": '["4", "four"]', "datasource": "one"},
        {"input": base_math("New"), "label": "1", "datasource": "one"},
    ]
    said = capsys.readouterr().out
    assert "train: dropped 1 that repeat an earlier one" in said
    assert "train: dropped 2 found in eval sets (same text + nearly the same): one 1 + 0, two 2 + 0" in said
    for name, rows in {"train": 9, "one": 2, "two": 2}.items():
        digest = hashlib.sha256((out / f"{name}.jsonl").read_bytes()).hexdigest()
        assert f"wrote {out}/{name}.jsonl: {rows:,} rows, sha256 {digest}" in said
    lines = said.splitlines()
    lengths, kinds = (
        next(i for i, line in enumerate(lines) if line.startswith(start)) for start in ("prompts by", "answers by")
    )
    *buckets, median, longest = map(int, lines[lengths + 1].split()[1:])
    assert sum(buckets) == 9
    assert longest == max(map(len, inputs(out / "train.jsonl")))
    assert lines[kinds + 1].split() == "train.jsonl 8 0 1 0 0 0 0 0 0".split()
    assert lines[kinds + 2].split() == "one.jsonl 2 0 0 0 0 0 0 0 1".split()
    assert f"--data.prompt_dataset {out}/train.jsonl --eval.dataset {out}/one.jsonl,{out}/two.jsonl" in lines[-1]


def test_shared_prompts_are_noted(tmp_path, capsys):
    train, e = problems(tmp_path / "t.jsonl", 3), problems(tmp_path / "e.jsonl", 2, start=7)
    assert main(["data", "math", "--train", train, "--eval", f"a={e}", f"b={e}", "--out", str(tmp_path / "out")]) == 0
    assert "note: 2 prompts stand in several eval files" in capsys.readouterr().out


def test_bad_rows_are_left_out_counted_and_written(tmp_path, capsys):
    rows = [{"problem": f"Compute ${i}$.", "answer": str(i)} for i in range(4)]
    bad = [{"problem": "Show it.", "answer": "proof"}, {"question": "No answer?"}]
    source = jsonl(tmp_path / "t.jsonl", [rows[0], *bad, *rows[1:]])
    flags = ["data", "math", "--train", source, "--eval", "--out", str(tmp_path / "out")]
    assert main(flags) == 2
    assert "t.jsonl: row 2: the answer 'proof' cannot be graded" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*flags, "--skip_bad"]) == 0
    said = capsys.readouterr().out
    assert "  4 problems, 2 bad rows left out" in said
    assert f"wrote {tmp_path}/out/skipped.json: 2 rows that were left out" in said
    assert len(read(tmp_path / "out/train.jsonl")) == 4
    skipped = json.loads((tmp_path / "out/skipped.json").read_text())
    assert [(row["source"], row["number"], row["row"]) for row in skipped] == [(source, 2, bad[0]), (source, 3, bad[1])]
    assert (
        main(
            [
                "data",
                "math",
                "--train",
                jsonl(tmp_path / "b.jsonl", bad),
                "--eval",
                "--out",
                str(tmp_path / "b"),
                "--skip_bad",
            ]
        )
        == 2
    )
    assert "b.jsonl: every row is bad; the first: the answer 'proof' cannot be graded" in capsys.readouterr().err


def test_one_problem_with_several_answers_is_said(tmp_path, capsys):
    rows = [
        ("Compute $1$.", "1"),
        ("compute  $1$", "2"),
        ("Compute $2$.", "2"),
        ("Compute $1$.", "3"),
        ("Compute $3$.", "3"),
    ]
    source = jsonl(tmp_path / "t.jsonl", [{"problem": problem, "answer": answer} for problem, answer in rows])
    assert main(["data", "math", "--train", source, "--eval", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "note: 1 train problems stand there with several answers; the first: 'Compute $1$.'" in said


def test_countdown_problems_without_a_solution(tmp_path, capsys):
    rows = [{"nums": [1, 2, number], "target": 3 + number} for number in range(4, 40)]
    rows += [{"nums": [2, 2, number], "target": 997} for number in range(3, 30)]
    source = jsonl(tmp_path / "c.jsonl", [*rows, {"nums": [], "target": 1}])
    flags = ["data", "countdown", "--source", source, "--train", "20", "--test", "0", "--out", str(tmp_path / "out")]
    assert main(flags) == 2
    assert "c.jsonl: row 64: nums must be a list of int" in capsys.readouterr().err
    assert main([*flags, "--skip_bad"]) == 0
    written = read(tmp_path / "out/train.jsonl")
    assert len(written) == 20 and all('"target": 997' not in row["label"] for row in written)
    skipped = json.loads((tmp_path / "out/skipped.json").read_text())
    assert {row["why"] for row in skipped[1:]} == {"it has no solution"} and skipped[0]["number"] == 64


def test_files_of_an_earlier_run_are_named(tmp_path, capsys):
    train, a, b = (
        problems(tmp_path / f"{name}.jsonl", 2, start=start) for name, start in (("t", 0), ("a", 5), ("b", 9))
    )
    out = tmp_path / "out"

    def notes(*words):
        assert main(["data", "math", "--train", train, "--out", str(out), "--eval", *words]) == 0
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]

    assert notes(f"a={a}", f"b={b}") == notes(f"a={a}", f"b={b}") == []
    (out / "notes.txt").write_text("mine")
    stale = f"note: {out}/b.jsonl is from an earlier run: train was not cleaned against it"
    assert notes(f"a={a}") == [stale]
    assert notes(f"a={a}", "--format", "parquet") == [
        f"note: {out}/a.jsonl is from an earlier run: train was not cleaned against it",
        stale,
        f"note: {out}/train.jsonl is from an earlier run: it was not cleaned against these eval files",
    ]


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
@pytest.mark.parametrize("template", ["base", "chat"])
def test_gsm8k(format, template, tmp_path, capsys):
    rows = [{"question": f"How many are {i} and {i}?", "answer": f"<<x>>\n#### {2000 * i:,}"} for i in range(6)]
    train, test = jsonl(tmp_path / "a.jsonl", rows[:4]), jsonl(tmp_path / "b.jsonl", rows[3:])
    words = [
        "--train",
        train,
        "--test",
        test,
        "--format",
        format,
        "--template",
        template,
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(["data", "gsm8k", *words]) == 0
    ask = {"base": base_math, "chat": chat_math}[template]
    assert read(tmp_path / "out" / f"test.{format}") == [
        {"input": ask(f"How many are {i} and {i}?"), "label": str(2000 * i), "datasource": "gsm8k"} for i in (3, 4, 5)
    ]
    assert sorted(row["label"] for row in read(tmp_path / "out" / f"train.{format}")) == ["0", "2000", "4000"]
    assert ("--data.apply_chat_template" in capsys.readouterr().out) == (template == "chat")


def test_seed_and_holdout(tmp_path):
    """One seed gives the same bytes in two processes; another another order of the same problems."""
    train = problems(tmp_path / "t.jsonl", 60)

    def run(out, *words):
        command = [sys.executable, "-m", "deltal_openrlhf.cli.main", "data", "math", "--train", train, "--eval"]
        subprocess.run([*command, "--out", str(tmp_path / out), *words], check=True, capture_output=True, timeout=60)
        return tmp_path / out

    one, same = run("one"), run("same")
    assert [path.name for path in one.iterdir()] == ["train.jsonl"]
    assert (one / "train.jsonl").read_bytes() == (same / "train.jsonl").read_bytes()
    other = run("other", "--seed", "1", "--holdout", "20")
    kept, apart = inputs(other / "train.jsonl"), inputs(other / "holdout.jsonl")
    assert (len(kept), len(apart)) == (40, 20)
    assert {row["datasource"] for row in read(other / "holdout.jsonl")} == {"holdout"}
    everything = inputs(one / "train.jsonl")
    assert sorted(kept + apart) == sorted(everything)
    assert apart + kept != everything


def test_holdout_has_no_near_copy_in_train(tmp_path, capsys):
    words = " ".join(f"word{chr(97 + i)}" for i in range(20))
    train = jsonl(tmp_path / "t.jsonl", [{"problem": f"{words} {i}", "answer": "1"} for i in range(4)] + [
        {"problem": f"Another, {i}", "answer": "1"} for i in range(4)
    ])  # fmt: skip
    out = tmp_path / "out"
    for seed in range(4):
        assert (
            main(["data", "math", "--train", train, "--eval", "--holdout", "2", "--seed", str(seed), "--out", str(out)])
            == 0
        )
        near = [sum(words in text for text in inputs(out / f"{name}.jsonl")) for name in ("train", "holdout")]
        assert near[0] == (0 if near[1] else 4)


@pytest.mark.parametrize("template", ["base", "chat"])
def test_too_long_prompts(template, tokenizer, capsys):
    from transformers import AutoTokenizer

    tmp_path, out = tokenizer, tokenizer / "out"
    rows = [{"problem": " ".join(f"n{j}" for j in range(i + 1)), "answer": "1"} for i in range(30)]
    train = jsonl(tmp_path / "t.jsonl", rows)
    test = jsonl(tmp_path / "e.jsonl", [{"problem": "x " * 25, "answer": "1"}, {"problem": "y", "answer": "1"}])
    words = ["--train", train, "--eval", f"e={test}", "--template", template, "--tokenizer", str(tmp_path / "chat")]
    assert main(["data", "math", *words, "--out", str(out)]) == 0
    chat = AutoTokenizer.from_pretrained(tmp_path / "chat")

    def tokens(prompt):  # a token is a word: counted without the tokenizer's own encoding
        text = (
            chat.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
            if template == "chat"
            else prompt
        )
        return len(text.split())

    lengths = {json.dumps(prompt): tokens(prompt) for prompt in inputs(out / "train.jsonl")}
    limit = sorted(lengths.values())[19]
    capsys.readouterr()
    assert main(["data", "math", *words, "--max_prompt_tokens", str(limit), "--out", str(out)]) == 0
    kept = list(map(json.dumps, inputs(out / "train.jsonl")))
    assert set(kept) == {prompt for prompt, length in lengths.items() if length <= limit}
    assert len(kept) == 20
    said = capsys.readouterr().out
    assert f"train: dropped 10 longer than {limit} tokens" in said
    assert f"e: dropped 1 longer than {limit} tokens" in said
    line = next(line for line in said.splitlines() if re.match(r"train\.jsonl ", line))
    assert int(line.split()[-1]) == limit


def test_help(capsys):
    for task in ("countdown", "math", "gsm8k"):
        with pytest.raises(SystemExit) as stopped:
            main(["data", task, "--help"])
        assert stopped.value.code == 0
        assert "--max_prompt_tokens N" in capsys.readouterr().out
