"""What a run's data files are found to be before Ray starts."""

import json
from types import SimpleNamespace

import pyarrow
import pyarrow.parquet
import pytest

from deltal_openrlhf.train.data_files import check_data

TEXT = {"input": "1+1=", "label": "2"}
CHAT = {"input": [{"role": "user", "content": "1+1="}], "label": "2"}


def arguments(path, *, input_key="input", label_key="label", chat=False, evaluation=None):
    return SimpleNamespace(
        data=SimpleNamespace(
            prompt_dataset=str(path), input_key=input_key, label_key=label_key, apply_chat_template=chat
        ),
        eval=SimpleNamespace(dataset=evaluation),
    )


@pytest.fixture(params=["jsonl", "parquet"])
def write(request, tmp_path):
    def make(row: dict, name: str = "train"):
        path = tmp_path / f"{name}.{request.param}"
        if request.param == "jsonl":
            path.write_text(json.dumps(row) + "\n")
        else:
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), path)
        return path

    return make


def test_what_fits_passes(write, tmp_path):
    check_data(arguments(write(TEXT)))
    check_data(arguments(write(TEXT), label_key=None))
    check_data(arguments(write(CHAT), chat=True))
    check_data(arguments("some/hub-name"))
    check_data(arguments(tmp_path / "absent.jsonl"))


def test_a_missing_column_is_named(write):
    with pytest.raises(
        ValueError, match="--data.label_key is lable, but --data.prompt_dataset .*train.* has the columns input, label"
    ):
        check_data(arguments(write(TEXT), label_key="lable"))
    with pytest.raises(ValueError, match="--data.input_key is prompt, but"):
        check_data(arguments(write(TEXT), input_key="prompt"))


def test_messages_need_the_chat_template(write):
    with pytest.raises(ValueError, match="input holds messages, which needs --data.apply_chat_template"):
        check_data(arguments(write(CHAT)))


def test_evaluation_files_are_looked_into_as_well(write):
    train, bad = write(TEXT), write({"question": "1"}, "test")
    with pytest.raises(ValueError, match="--eval.dataset .*test.* has the columns question"):
        check_data(arguments(train, evaluation=f"{train},{bad}"))


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "train.jsonl").write_text("{broken\n")
    with pytest.raises(ValueError, match="train.jsonl: line 1: not JSON"):
        check_data(arguments(tmp_path / "train.jsonl"))
