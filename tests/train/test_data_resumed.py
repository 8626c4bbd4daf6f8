"""A checkpoint knows the rows that it was trained on: which resumes are refused, which are not, and what the command says."""

import json
from datetime import datetime
from types import SimpleNamespace

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from support.launches import launch_all
from support.run_data import SIZES, TEMPLATE, arguments, save_tokenizer, write
from transformers.utils import chat_template_utils

from deltal_openrlhf import backends
from deltal_openrlhf.host.saved_run import FILE, check_resumed_run, saved_run
from deltal_openrlhf.train import run_data

BACKEND = backends.load("deepspeed")
ROWS = [{"input": f"{i}+1=", "label": str(i + 1)} for i in range(6)]


@pytest.fixture
def resumed(tmp_path, monkeypatch):
    """resumed(path, *flags): a run on this file resumes from what the first such run saved; its fingerprint. ValueError if refused."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    model, saved = save_tokenizer(tmp_path / "model"), tmp_path / "ckpt" / "_actor" / "global_step2"

    def resume(path, *flags):
        given = ["--data.prompt_dataset", path, "--ckpt.path", tmp_path / "ckpt", *flags]
        args = arguments(model, *map(str, given))
        args.deltal.data = run_data.read(args).fingerprint()
        if not saved.exists():
            saved.mkdir(parents=True)
            (saved / FILE).write_text(json.dumps(saved_run(args, BACKEND)))
        check_resumed_run(args, BACKEND, saved.name)
        return args.deltal.data

    return resume


def test_a_chat_template_that_puts_in_the_date_resumes_on_another_day(resumed, tmp_path, monkeypatch):
    dated = "{{ strftime_now('%d %b %Y') }}" + TEMPLATE
    save_tokenizer(tmp_path / "model", template=dated)
    rows = [{"input": [{"role": "user", "content": row["input"]}], "label": row["label"]} for row in ROWS]
    path, flags = write(tmp_path / "train.jsonl", *rows), ("--data.apply_chat_template", "--data.max_len", "99")
    resumed(path, *flags)
    run_data._checked.clear()
    monkeypatch.setattr(chat_template_utils, "datetime", SimpleNamespace(now=lambda: datetime(2001, 2, 3)))
    resumed(path, *flags)
    run_data._checked.clear()
    save_tokenizer(tmp_path / "model")  # the prompts are without the date now
    with pytest.raises(ValueError, match="not the same ones"):
        resumed(path, *flags)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([*ROWS, {"input": "9+9=", "label": "18"}], r"on other data \(6 rows then, 7 now\)"),
        (ROWS[1:], r"on other data \(6 rows then, 5 now\)"),
        ([*ROWS[:5], ROWS[4]], r"6 rows then and now, not the same ones or in another order"),
        (ROWS[::-1], r"in another order"),
        ([{**ROWS[0], "label": "7"}, *ROWS[1:]], r"not the same ones"),
        ([{**row, "datasource": "math"} for row in ROWS], r"not the same ones"),
    ],
)
def test_other_rows_are_refused(rows, says, resumed, tmp_path):
    path = write(tmp_path / "train.jsonl", *ROWS)
    resumed(path)
    resumed(path)
    with pytest.raises(
        ValueError, match=rf"checkpoint global_step2 was trained {'.*' if says[:2] != 'on' else ''}{says}"
    ) as refused:
        resumed(write(path, *rows))
    assert "start from the exported model with another --ckpt.path" in str(refused.value)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--data.max_samples", "4"), r"\(6 rows then, 4 now; --data.max_samples 100000000 then, 4 now\)"),
        (("--data.input_template", "Q: {}"), r"--data.input_template None then, Q: {} now"),
        (("--data.label_key", "input"), r"--data.label_key label then, input now"),
        (
            ("--train.seed", "7"),
            r"--train.seed is 7, but checkpoint global_step2 was trained with 42, which is another order",
        ),
    ],
)
def test_flags_that_change_the_rows_are_named(flags, says, resumed, tmp_path):
    path = write(tmp_path / "train.jsonl", *ROWS)
    resumed(path)
    with pytest.raises(ValueError, match=says):
        resumed(path, *flags)


def test_a_file_may_move_and_take_another_format(resumed, tmp_path):
    saved = resumed(write(tmp_path / "train.jsonl", *ROWS))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "moved.parquet")
    moved = resumed(
        tmp_path / "moved.parquet",
        "--data.max_samples",
        "6",
        "--rollout.max_new_tokens",
        "7",
        "--eval.dataset",
        tmp_path / "train.jsonl",
    )
    assert (moved.rows, moved.sha256) == (saved.rows, saved.sha256) and moved.flags != saved.flags


def test_the_command_refuses_before_ray(tmp_path):
    """Real command lines: dry runs, one of which resumes."""
    model, path = (
        save_tokenizer(tmp_path / "model"),
        write(tmp_path / "train.jsonl", *ROWS, {"input": "x" * 9, "label": "1"}),
    )
    bad = write(tmp_path / "bad.jsonl", ROWS[0], {"input": "a", "label": None})
    saved = tmp_path / "ckpt" / "_actor" / "global_step2"
    saved.mkdir(parents=True)
    (saved.parent / "latest").write_text(saved.name)
    flags = [
        *SIZES,
        "--actor.model_name_or_path",
        str(model),
        "--reward.remote_url",
        "reward.py",
        "--data.label_key",
        "label",
    ]
    flags += ["--ckpt.path", str(tmp_path / "ckpt"), "--dry_run"]
    then = arguments(model, "--data.prompt_dataset", str(path), "--data.max_samples", "5")
    then.deltal.data = run_data.read(then).fingerprint()
    (saved / FILE).write_text(json.dumps(saved_run(then, BACKEND)))
    runs = {
        "good": [*flags, "--data.prompt_dataset", str(path)],
        "bad": [*flags, "--data.prompt_dataset", str(bad)],
        "other data": [*flags, "--data.prompt_dataset", str(path), "--ckpt.load_enable"],
        "template": [*flags, "--data.prompt_dataset", str(path), "--data.input_template", "{} \\boxed{}"],
    }
    cache = f"import datasets; datasets.config.HF_DATASETS_CACHE = {str(tmp_path / 'cache')!r}"
    found = launch_all(runs, tmp_path, before=cache)
    code, out, err = found.pop("good")
    assert (code, err) == (0, "")
    assert "--data.prompt_dataset: 1 of 7 prompts have more than 8 tokens" in out and "line 7; OpenRLHF cuts" in out
    says = {
        "bad": "bad.jsonl: line 2: label is null",
        "other data": "(5 rows then, 7 now",
        "template": "it has more than one {}",
    }
    for name, (code, out, err) in found.items():
        said = [line for line in err.splitlines() if "not there: reward.py" not in line]
        assert (code, len(said)) == (2, 1) and says[name] in err, (name, out, err)
