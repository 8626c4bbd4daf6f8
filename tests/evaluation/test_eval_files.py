"""Evaluation files and checkpoints: what is read, what is refused in one line before vLLM starts; a whole evaluation."""

import json
import shutil
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.responses import record

from deltal_openrlhf.cli import main as cli
from deltal_openrlhf.evaluation import sampling
from deltal_openrlhf.evaluation.problems import Problem, by_set, read_problems
from deltal_openrlhf.evaluation.prompts import check_lengths, tokenize
from deltal_openrlhf.evaluation.store import ResponseStore
from deltal_openrlhf.models.checkpoint import checksums
from deltal_openrlhf.rewards.scoring import answer_of
from deltal_openrlhf.runs.journal import SETTINGS

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1?"}]
COUNTDOWN = json.dumps({"numbers": [1, 2], "target": 3})


def row(prompt="1+1?", label="2", datasource="sums"):
    return {"input": prompt, "label": label, "datasource": datasource}


def write(path: Path, rows) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A folder that has a configuration and a tokenizer, and stands for one with weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    words = Tokenizer(models.WordLevel({"<unk>": 0, "1+1?": 1, "Be": 2, "user:": 3, "model:": 4}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(folder)
    LlamaConfig(vocab_size=5, max_position_embeddings=32).save_pretrained(folder)
    (folder / "model.safetensors").write_bytes(b"not read before vLLM starts")
    return folder


def test_problems_of_jsonl_and_parquet_by_set(tmp_path):
    a = write(tmp_path / "a.jsonl", [row(), row(datasource="other", label=COUNTDOWN), row("3+3?", '["6", "six"]')])
    table = [row(CHAT, "2", "chat"), row([CHAT[1]], "2", "sums")]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "b.parquet")
    problems = read_problems([a, tmp_path / "b.parquet"])
    assert problems == [
        Problem("sums", 0, "1+1?", "2"),
        Problem("other", 0, "1+1?", COUNTDOWN),
        Problem("sums", 1, "3+3?", '["6", "six"]'),
        Problem("chat", 0, CHAT, "2"),
        Problem("sums", 2, [CHAT[1]], "2"),
    ]
    assert {name: len(members) for name, members in by_set(problems).items()} == {"sums": 3, "other": 1, "chat": 1}
    assert read_problems([a, tmp_path / "b.parquet"], limit=1) == [problems[i] for i in (0, 1, 3)]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "data.jsonl: holds no problems"),
        ([row(), '{"input": "1'], "data.jsonl: line 2: broken JSON: "),
        ([row(), '["a"]'], "data.jsonl: line 2: a row is an object with input, label, datasource"),
        (
            [{"input": "a", "answer": "1", "datasource": "x"}],
            "line 1: no column 'label'; it has input, answer, datasource",
        ),
        ([{"input": "a", "label": "1"}], "line 1: no column 'datasource'"),
        ([row(prompt=3)], "line 1: input is a text or a list of messages with role and content, not '3'"),
        ([row(prompt=" ")], "line 1: input is a text"),
        ([row(prompt=[])], "line 1: input is a text"),
        ([row(prompt=[{"role": "user"}])], "line 1: input is a text"),
        ([row(label="")], "line 1: a math label is an answer's text"),
        ([row(label=7)], "line 1: a math label is an answer's text"),
        ([row(label=None)], "line 1: a math label is an answer's text"),
        ([row(label='["a", ')], "line 1: a math label starts like a JSON list but is not one"),
        ([row(label='{"numbers": [1, 2]}')], "line 1: a countdown label is"),
        ([row(datasource="")], "line 1: datasource is a name"),
        ([row(), row(prompt="\ud800")], "line 2: holds half a surrogate pair"),
        ([row(prompt=[{"role": "user", "content": "\udc00"}])], "line 1: holds half a surrogate pair"),
        ([row(label="\ud800")], "line 1: holds half a surrogate pair"),
        ([row(), "[" * 100_000], "line 2: not readable as JSON: "),
        (["1" * 5000], "line 1: not readable as JSON: "),
    ],
)
def test_bad_rows(tmp_path, rows, says):
    with pytest.raises(ValueError) as error:
        read_problems([write(tmp_path / "data.jsonl", rows)])
    assert says in str(error.value) and "\n" not in str(error.value)


def test_bad_files(tmp_path):
    good = write(tmp_path / "a.jsonl", [row()])
    (tmp_path / "b.parquet").write_bytes(b"PAR0")
    (tmp_path / "c.jsonl").write_bytes(b"\xff\xfe\n")
    for paths, says in (
        ([tmp_path / "no.jsonl"], "no.jsonl: no such file"),
        ([good, tmp_path / "." / "a.jsonl"], "a.jsonl: given 2 times"),
        ([tmp_path / "b.parquet"], "not a readable parquet file"),
        ([tmp_path / "c.jsonl"], "not UTF-8"),
        ([write(tmp_path / "d.csv", ["a"])], "d.csv: evaluation files are .jsonl or .parquet"),
        ([write(tmp_path / "e.json", [row()])], "e.json: evaluation files are .jsonl or .parquet"),
        ([tmp_path], "is a folder; evaluation files are .jsonl or .parquet"),
    ):
        with pytest.raises(ValueError, match=says):
            read_problems(paths)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--n 0", "--n is 0, allowed is 1 or more"),
        ("--temperature -1", "--temperature is -1.0, allowed is 0 or more"),
        ("--temperature nan", "--temperature is nan"),
        ("--temperature 0", "--temperature 0 makes --n 8 equal responses"),
        ("--top_p 0", "--top_p is 0.0, allowed is above 0 to 1"),
        ("--top_p 1.5", "--top_p is 1.5"),
        ("--max_new_tokens 0", "--max_new_tokens is 0"),
        ("--seed -1", "--seed is -1"),
        ("--limit 0", "--limit is 0"),
        ("--tensor_parallel_size 0", "--tensor_parallel_size is 0"),
        ("--n many", "invalid int value: 'many'"),
        ("--data {tmp}/none.jsonl", "none.jsonl: no such file"),
        ("--data {tmp}/data.jsonl {tmp}/data.jsonl", "given 2 times"),
        ("--model {tmp}/none", "none: no such folder"),
        ("--model {tmp}/data.jsonl", "data.jsonl: no such folder"),
        ("--model {tmp}", "no config.json"),
        (
            "--max_new_tokens 40",
            "the model has 32 positions; problem 1 of sums takes 3, and --max_new_tokens 40; allowed is",
        ),
        ("--data {tmp}/chat.jsonl", "has no chat template"),
        ("--data {tmp}", "is a folder; evaluation files are"),
        ("--out {tmp}/data.jsonl", "data.jsonl: is a file, wanted is a folder"),
        ("--out {tmp}/data.jsonl/x", "data.jsonl/x: Not a directory"),
        ("--compare {tmp}/a {tmp}/b", "--compare takes two results, not --model or --data"),
    ],
)
def test_bad_command_lines_end_before_vllm_starts(tmp_path, model, monkeypatch, capsys, flags, says):
    def start(*_):
        raise AssertionError("vLLM was started")

    monkeypatch.setattr(sampling, "start", start)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    write(tmp_path / "data.jsonl", [row(), row("1+1? 1+1? 1+1?")])
    write(tmp_path / "chat.jsonl", [row(CHAT)])
    base = ["eval", "--model", str(model), "--data", str(tmp_path / "data.jsonl"), "--out", str(tmp_path / "out")]
    small = ["--max_new_tokens", "8"]
    with pytest.raises(SystemExit) as stop:
        cli.main([*base, *small, *flags.format(tmp=tmp_path).split()])
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert err.startswith("deltal eval: error: ") and err.count("\n") == 1 and says in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_incomplete_checkpoints(tmp_path, model, capsys, monkeypatch, missing):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    folder = tmp_path / "model"
    folder.mkdir()
    for path in model.iterdir():
        if not path.name.startswith(missing.split(".")[0]):
            (folder / path.name).write_bytes(path.read_bytes())
    data = write(tmp_path / "data.jsonl", [row()])
    with pytest.raises(SystemExit) as stop:
        cli.main(["eval", "--model", str(folder), "--data", str(data), "--out", str(tmp_path / "out")])
    assert stop.value.code == 2
    what = {"config.json": "no config.json", "tokenizer.json": "no tokenizer", "model.safetensors": "no weights"}[
        missing
    ]
    err = capsys.readouterr().err
    assert what in err and err.count("\n") == 1


def test_prompts_are_tokenized_as_in_training(tmp_path, model):
    from transformers import AutoTokenizer

    folder = tmp_path / "chat"
    tokenizer = AutoTokenizer.from_pretrained(model)
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}{% if add_generation_prompt %}model:{% endif %}"
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_bytes((model / "config.json").read_bytes())
    problems = [Problem("a", 0, "Be 1+1?", "2"), Problem("a", 1, [CHAT[1]], "2")]
    prompts = tokenize(folder, problems)
    assert [prompt.text for prompt in prompts] == ["Be 1+1?", "user: 1+1? model:"]
    assert [prompt.token_ids for prompt in prompts] == [[2, 1], [3, 1, 4]]
    assert check_lengths(folder, problems, prompts, 29) == 32
    with pytest.raises(
        ValueError, match="problem 1 of a takes 3, and --max_new_tokens 30; allowed is --max_new_tokens up to 29"
    ):
        check_lengths(folder, problems, prompts, 30)


def test_checksums_see_weights_tokenizer_and_configuration_only(tmp_path, model):
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / "metrics.jsonl").write_text("{}")
    assert checksums(folder) == checksums(model)
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b" ")
        assert [k for k, v in checksums(folder).items() if v != checksums(model)[k]] == [name]
        (folder / name).write_bytes(content)


def test_the_answer_shown_is_the_one_graded():
    response = "<answer>1+2</answer> so \\boxed{7}"
    assert answer_of(response, COUNTDOWN) == "1+2"
    assert answer_of(response, "7") == "7"
    assert answer_of("nothing", "7") is answer_of("\\boxed{3}", COUNTDOWN) is None


def test_a_complete_evaluation_is_reported_without_vllm_and_refused_with_other_settings(
    tmp_path, model, monkeypatch, capsys
):
    def start(*_):
        raise AssertionError("vLLM was started")

    monkeypatch.setattr(sampling, "start", start)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    model = shutil.copytree(model, tmp_path / "model")
    data = write(tmp_path / "data.jsonl", [row(datasource="s"), row("1+1? 1+1?", datasource="s")])
    out = tmp_path / "out"
    command = [
        "eval",
        "--model",
        str(model),
        "--data",
        str(data),
        "--out",
        str(out),
        "--n",
        "2",
        "--max_new_tokens",
        "8",
    ]
    assert cli.main(command) == 1  # it would start vLLM
    assert "stopped: vLLM was started" in capsys.readouterr().err
    with ResponseStore(out, json.loads((out / SETTINGS).read_text())) as store:
        store.add([record(p, s, correct=s == 0, status=("equal", "different")[s]) for p in (0, 1) for s in (0, 1)])
    assert cli.main(command) == 0
    console = capsys.readouterr().out
    assert "2 problems in s; 4 responses, 4 of them are there" in console and "starting vLLM" not in console
    found = json.loads((out / "results.json").read_text())
    assert found["sets"]["s"]["avg"] == {"value": 0.5, "low": 0.5, "high": 0.5, "resolved": True} and found["n"] == 2
    assert (out / "report.md").exists() and (out / "samples.md").exists()
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (model / "model.safetensors").write_bytes(b"other weights")
    for extra, says in (
        (["--seed", "1"], "begun with --seed 0, not 1"),
        (["--limit", "1"], "begun with other problems: s differs"),
        ([], "begun with another model: model.safetensors differs"),
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main([*command, *extra])
        assert stop.value.code == 2 and says in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_what_an_evaluation_leaves_to_runs_is_said_in_one_line(model, tmp_path, capsys, monkeypatch):
    with pytest.raises(ValueError) as error:
        read_problems([write(tmp_path / "pictures.jsonl", [row() | {"images": None}, row() | {"images": ["a.png"]}])])
    assert str(error.value).endswith(
        "line 2: it has images, and deltal eval reads text alone; a run evaluates such rows, with --eval.dataset"
    )
    trained = tmp_path / "trained"
    shutil.copytree(model, trained)
    loss = {"mode": "token-mean", "alpha": None, "scope": None, "max_length": 8}
    flags = {"train.agent_func_path": "deltal:countdown-calculator"}
    (trained / "run_settings.json").write_text(json.dumps({"version": "0", "loss": loss, "flags": flags}))
    monkeypatch.setattr(sampling, "start", lambda *_: 1 / 0)
    for folder, says in (
        (trained, "was trained with the agent deltal:countdown-calculator; these are single"),
        (model, ""),
    ):
        words = ["--model", str(folder), "--data", str(write(tmp_path / "a.jsonl", [row()])), "--max_new_tokens", "4"]
        assert cli.main(["eval", *words, "--out", str(tmp_path / folder.name)]) == 1  # where vLLM would start
        assert ("agent" in (said := capsys.readouterr().out)) == bool(says) and says in said
