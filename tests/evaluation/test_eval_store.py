"""responses.jsonl: what a kill leaves comes back; other settings, foreign files and a second process are refused."""

import json
import random
import subprocess
import sys

import pytest
from support import commands
from support.responses import record

from deltal_openrlhf.evaluation.store import RESPONSES, ResponseStore
from deltal_openrlhf.runs.journal import SETTINGS, differences

SETTINGS_A = {"n": 2, "temperature": 1.0, "sets": {"s": "aa", "t": "bb"}, "model_files": {"config.json": "cc"}}


def test_responses_come_back_whatever_byte_the_kill_left(tmp_path):
    with ResponseStore(tmp_path, SETTINGS_A) as store:
        store.add([record(0, 0), record(0, 1)])
        store.add([])
        store.add([record(1, 0)])
        expected = dict(store.records)
    content = (tmp_path / RESPONSES).read_bytes()
    ends = [i for i in range(len(content) + 1) if i == 0 or content[i - 1 : i] == b"\n"]
    assert len(ends) == 4
    for cut in random.Random(0).sample(range(len(content)), 40) + ends:
        (tmp_path / RESPONSES).write_bytes(content[:cut])
        with ResponseStore(tmp_path, SETTINGS_A) as store:
            whole = sum(end <= cut for end in ends) - 1
            assert list(store.records.items()) == list(expected.items())[:whole]
            store.add([record(9, 0)])
        with ResponseStore(tmp_path, SETTINGS_A) as store:
            assert list(store.records)[whole:] == [("s", 9, 0)]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"n": 4}, "begun with --n 2, not 4; take another --out"),
        ({"sets": {"s": "aa", "t": "xx"}}, "other problems: t differs"),
        ({"sets": {"s": "aa"}}, "other problems: t is missing now"),
        ({"sets": {"s": "aa", "t": "bb", "u": "cc"}}, "other problems: u is new"),
        ({"model_files": {"config.json": "dd"}}, "another model: config.json differs"),
    ],
)
def test_other_settings_are_refused(tmp_path, changed, says):
    with ResponseStore(tmp_path, SETTINGS_A) as store:
        store.add([record(0, 0)])
    before = (tmp_path / RESPONSES).read_bytes(), (tmp_path / SETTINGS).read_bytes()
    with pytest.raises(ValueError, match=says):
        ResponseStore(tmp_path, {**SETTINGS_A, **changed})
    assert ((tmp_path / RESPONSES).read_bytes(), (tmp_path / SETTINGS).read_bytes()) == before
    assert differences(SETTINGS_A, dict(SETTINGS_A)) == []


def test_foreign_and_broken_files_are_refused(tmp_path):
    (tmp_path / RESPONSES).write_text("mine\n")
    with pytest.raises(ValueError, match="holds responses.jsonl without settings.json"):
        ResponseStore(tmp_path, SETTINGS_A)
    (tmp_path / SETTINGS).write_text(json.dumps(SETTINGS_A))
    with pytest.raises(ValueError, match="responses.jsonl: line 1 is not a graded response"):
        ResponseStore(tmp_path, SETTINGS_A)
    assert (tmp_path / RESPONSES).read_text() == "mine\n"


@pytest.mark.parametrize(
    "changes", [{"tokens": "3"}, {"response": None}, {"correct": 1}, {"set": ["s"]}, {"position": None}, {"more": 1}]
)
def test_records_of_other_types_are_refused(tmp_path, changes):
    with ResponseStore(tmp_path, SETTINGS_A) as store:
        store.add([record(0, 0)])
    with open(tmp_path / RESPONSES, "a") as file:
        file.write(json.dumps({**record(0, 1)._asdict(), **changes}) + "\n")
    with pytest.raises(ValueError, match="responses.jsonl: line 2 is not a graded response; take another --out"):
        ResponseStore(tmp_path, SETTINGS_A)


@pytest.mark.parametrize("content", ["{", "[1]", "[" * 100_000])
def test_broken_settings_are_refused(tmp_path, content):
    (tmp_path / SETTINGS).write_text(content)
    with pytest.raises(ValueError, match="settings.json: not .*; take another --out"):
        ResponseStore(tmp_path, SETTINGS_A)


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path):
    code = (
        "import sys; from pathlib import Path; from deltal_openrlhf.evaluation.store import ResponseStore\n"
        f"with ResponseStore(Path({str(tmp_path)!r}), {SETTINGS_A!r}): print('open', flush=True); sys.stdin.read()"
    )
    with commands.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "open\n"
        with pytest.raises(ValueError, match="another evaluation is writing there"):
            ResponseStore(tmp_path, SETTINGS_A)
        first.kill()
    with ResponseStore(tmp_path, SETTINGS_A) as store:
        assert store.records == {}
