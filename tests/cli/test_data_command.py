"""`deltal data math` and `gsm8k`: what is written and said, and that nothing is written when something is wrong."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from deltal_openrlhf.cli.main import main
from deltal_openrlhf.data.templates import base_math, chat_math
from deltal_openrlhf.runs import files

CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}> {{ m.content }} {% endfor %}"
    "{% if add_generation_prompt %}<assistant> ok {% endif %}"
)


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def problems(path, n, start=0):
    rows = [{"problem": f"Compute ${i} + {i * i}$.", "answer": str(i + i * i)} for i in range(start, start + n)]
    return jsonl(path, rows)


def read(path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text().splitlines()]


def inputs(path):
    return [row["input"] for row in read(path)]


@pytest.fixture
def tokenizer(tmp_path):
    """One token a word, as a folder. Adds a first token when special tokens are wanted, as the host does not."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[BOS]": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(single="[BOS] $A", special_tokens=[("[BOS]", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", bos_token="[BOS]")
    fast.save_pretrained(tmp_path / "plain")
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(tmp_path / "chat")
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


BAD = [
    (["--eval", "math50"], "--eval math50: no known set, the nearest is math500; known are math500, aime2024, amc, minerva"),
    (["--eval", "train={e}"], "is not train or holdout, got 'train'"),
    (["--eval", "../x={e}"], "a name has letters, digits, - and _"),
    (["--eval", "a={e}", "a={e}"], "--eval a: given twice"),
    (["--eval", "a={e}", "--eval", "a={e}"], "--eval a: given twice"),
    (["--eval", "a={bad}"], "bad.jsonl: row 1: no column final_answer or answer; it has problem"),
    (["--eval", "a={e}", "b={missing}"], "missing.jsonl: not readable: No such file"),
    (["--eval", "a={t}"], "train: no problem is left to write"),
    (["--holdout", "10", "--eval"], "--holdout 10: train has only 10 problems"),
    (["--max_prompt_tokens", "5", "--eval"], "--max_prompt_tokens counts tokens and needs --tokenizer"),
    (["--tokenizer", "{missing}", "--eval"], "tokenizer"),
    (["--tokenizer", "{plain}", "--template", "chat", "--eval"], "has no chat template"),
    (["--tokenizer", "{plain}", "--max_prompt_tokens", "3", "--eval"], "train: no problem is left to write"),
    (["--format", "csv", "--eval"], "invalid choice: 'csv'"),
    (["--hold", "3", "--eval"], "unrecognized arguments: --hold 3"),
    (["--out", "{out},x", "--eval"], "a path with ',' in it, at which OpenRLHF would split it"),
    (["--out", "{out}@x", "--eval"], "a path with '@' in it, at which OpenRLHF would split it"),
    (["--out", "{t}/x", "--eval"], "not writable: Not a directory"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "says"), BAD)
def test_bad_input(words, says, tokenizer, capsys):
    """One line, exit code 2, and the files of an earlier run stay as they are."""
    paths = {name: tokenizer / f"{name}.jsonl" for name in ("t", "e", "bad", "missing")}
    problems(paths["t"], 10)
    problems(paths["e"], 2, start=20)
    jsonl(paths["bad"], [{"problem": "p"}])
    out = tokenizer / "out"
    out.mkdir()
    (out / "train.jsonl").write_text("old")
    names = {**paths, "out": out, "plain": tokenizer / "plain"}
    try:
        status = main(
            ["data", "math", "--train", str(paths["t"]), "--out", str(out), *(w.format(**names) for w in words)]
        )
    except SystemExit as stopped:
        status = stopped.code
    error = capsys.readouterr().err
    assert (status, len(error.splitlines())) == (2, 1), error
    assert says in error
    assert [path.name for path in out.iterdir()] == ["train.jsonl"] and (out / "train.jsonl").read_text() == "old"


def test_full_disk(tmp_path, monkeypatch, capsys):
    """The second file cannot be written: the first does not get its name, the old one stays."""
    train, e = problems(tmp_path / "t.jsonl", 3), problems(tmp_path / "e.jsonl", 2, start=7)
    out = tmp_path / "out"
    out.mkdir()
    (out / "train.jsonl").write_text("old")
    synced = []

    def fsync(descriptor):
        synced.append(descriptor)
        if len(synced) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fsync)
    assert main(["data", "math", "--train", train, "--eval", f"e={e}", "--out", str(out)]) == 2
    assert capsys.readouterr().err == f"deltal data math: error: {out}: not writable: No space left on device\n"
    assert [path.name for path in out.iterdir()] == ["train.jsonl"] and (out / "train.jsonl").read_text() == "old"


def test_a_folder_in_the_place_of_a_file(tmp_path, capsys):
    train, e = problems(tmp_path / "t.jsonl", 3), problems(tmp_path / "e.jsonl", 2, start=7)
    (tmp_path / "out" / "e.jsonl").mkdir(parents=True)
    assert main(["data", "math", "--train", train, "--eval", f"e={e}", "--out", str(tmp_path / "out")]) == 2
    assert "e.jsonl: not writable: it is a folder" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["e.jsonl"]


def test_write_atomically(tmp_path):
    path = tmp_path / "new" / "x.txt"
    files.write_atomically(path, "∆L")
    assert path.read_text(encoding="utf-8") == "∆L"
    with pytest.raises(UnicodeEncodeError):
        files.write_atomically(path, "x" * 100_000 + "\ud800")
    assert path.read_text(encoding="utf-8") == "∆L" and list(path.parent.iterdir()) == [path]


def start(tmp_path, *words):
    command = [sys.executable, "-m", "deltal_openrlhf.cli.main", "data", "math", "--out", str(tmp_path / "out"), *words]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def test_unreachable_hub(tmp_path):
    """The default sources, in a process of its own: the client reads the switch at import."""
    run = start(tmp_path)
    out, error = run.communicate(timeout=60)
    assert (run.returncode, len(error.splitlines())) == (2, 1), error
    assert "Open-Reasoner-Zero/orz_math_57k_collection: no local file, and not readable from the hub" in error
    assert not (tmp_path / "out").exists()


def test_interrupt(tmp_path):
    """While it waits for a source that does not come."""
    os.mkfifo(tmp_path / "never.jsonl")
    run = start(tmp_path, "--train", str(tmp_path / "never.jsonl"))
    try:
        assert run.stdout.readline().startswith("reading train")
        time.sleep(0.2)
        run.send_signal(signal.SIGINT)
        _, error = run.communicate(timeout=30)
    finally:
        run.kill()
        run.wait()
    assert (run.returncode, error) == (130, "deltal data math: interrupted\n")
    assert not (tmp_path / "out").exists()


def test_help(capsys):
    for task in ("countdown", "math", "gsm8k"):
        with pytest.raises(SystemExit) as stopped:
            main(["data", task, "--help"])
        assert stopped.value.code == 0
        assert "--max_prompt_tokens N" in capsys.readouterr().out
