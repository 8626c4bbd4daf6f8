"""Credentials in texts and in values that print themselves."""

import copy
import pickle
from types import SimpleNamespace

import pytest

from deltal_openrlhf.runs.redaction import Address, Key, redacted, shown

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("http://ann:pa55@h:1/r", "http://***@h:1/r"),
        ("http://ann:p@55@h/r", "http://***@h/r"),
        ("https://tok3n@h/r", "https://***@h/r"),
        ("http://h/r?token=abc&x=1", "http://h/r?***"),
        ("http://h/r?a=1,http://u:p@i/r?b=2", "http://h/r?***,http://***@i/r?***"),
        ("['http://h/r?a=1', 'http://i']", "['http://h/r?***', 'http://i']"),
        ("no reward from http://u:p@h/r: HTTP 500", "no reward from http://***@h/r: HTTP 500"),
        (f"unrecognized arguments: --logger.wandb.keyy {KEY}", "unrecognized arguments: --logger.wandb.keyy ***"),
        (f"unrecognized arguments: --logger.wandb.ky={KEY}", "unrecognized arguments: --logger.wandb.ky=***"),
        ("unrecognized arguments: --tokens 5 --token geheim", "unrecognized arguments: --tokens 5 --token ***"),
        (f"unrecognized arguments: --logger.wandb={KEY}", "unrecognized arguments: --logger.wandb=***"),
        ("unrecognized arguments: --logger.wandb.ke geheim", "unrecognized arguments: --logger.wandb.ke ***"),
        ("unrecognized arguments: --speed 9", "unrecognized arguments: --speed 9"),
        (f"data/{KEY}.jsonl: not there", f"data/{KEY}.jsonl: not there"),
        ("mail ann@example.org, http://h/a@b", "mail ann@example.org, http://h/a@b"),
    ],
)
def test_redacted(text, says):
    assert redacted(text) == says
    assert redacted(says) == says


def test_values_of_variables(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("HF_TOKEN", "of")  # too short for a token, and part of many a text
    assert redacted(f"the project of {KEY}") == "the project of ***"


def test_what_hides_itself_does_so_in_everything_that_holds_it_and_in_other_processes():
    args = SimpleNamespace(
        logger=SimpleNamespace(key=Key(KEY)), url=Address("http://u:geheim@h/r,http://i/r?t=geheim").split(",")
    )
    for one in (args, copy.deepcopy(args), pickle.loads(pickle.dumps(args))):
        for text in (str(one), repr(one), f"{vars(one)}", shown(one.logger.key), shown(one.url)):
            assert KEY not in text and "geheim" not in text and "***" in text
        # They are used as they are.
        assert one.logger.key == KEY and one.url == ["http://u:geheim@h/r", "http://i/r?t=geheim"]
