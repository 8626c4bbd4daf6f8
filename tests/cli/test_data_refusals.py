"""`deltal data`: nothing is written where something is wrong, a disk is full, or the command is interrupted."""

import os
import signal
import subprocess
import sys
import time

import pytest
from support.data_files import jsonl, problems, save_tokenizers

from deltal_openrlhf.cli.main import main
from deltal_openrlhf.runs import files


@pytest.fixture
def tokenizer(tmp_path):
    """A folder with two tokenizers (support.data_files)."""
    save_tokenizers(tmp_path)
    return tmp_path


BAD = [
    (["--eval", "math50"], "--eval math50: no known set; the nearest known one is 'math500'; known are math500, aime2024, amc, minerva"),
    (["--eval", "train={e}"], "is not train or holdout, got 'train'"),
    (["--eval", "../x={e}"], "a name has letters, digits, - and _"),
    (["--eval", "a={e}", "a={e}"], "--eval a: given twice"),
    (["--eval", "a={e}", "--eval", "a={e}"], "--eval a: given twice"),
    (["--eval", "a={bad}"], "bad.jsonl: row 1: no column final_answer or answer, reward_model with a ground_truth, or solution"),
    (["--eval", "a={e}", "b={missing}"], "missing.jsonl: not readable: No such file"),
    (["--eval", "a={t}"], "train: no problem is left to write"),
    (["--holdout", "10", "--eval"], "--holdout 10: train has only 10 problems"),
    (["--max_prompt_tokens", "5", "--eval"], "--max_prompt_tokens counts tokens and needs --tokenizer"),
    (["--tokenizer", "{missing}", "--eval"], "missing.jsonl: the tokenizer cannot be loaded, neither as a folder here nor from the hub: "),
    (["--tokenizer", "{plain}", "--template", "chat", "--eval"], "plain: the tokenizer has no chat template"),
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
    assert (
        capsys.readouterr().err
        == f"deltal data math: error: {out / 'e.jsonl'}: not writable: No space left on device\n"
    )
    assert [path.name for path in out.iterdir()] == ["train.jsonl"] and (out / "train.jsonl").read_text() == "old"


def test_a_folder_in_the_place_of_a_file(tmp_path, capsys):
    train, e = problems(tmp_path / "t.jsonl", 3), problems(tmp_path / "e.jsonl", 2, start=7)
    (tmp_path / "out" / "e.jsonl").mkdir(parents=True)
    assert main(["data", "math", "--train", train, "--eval", f"e={e}", "--out", str(tmp_path / "out")]) == 2
    assert "e.jsonl: not writable: it is a folder" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["e.jsonl"]


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
