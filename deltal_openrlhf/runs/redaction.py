"""Hides credentials wherever they are shown: keys, tokens, and addresses with a password or a query.

A Key or an Address is hidden wherever a namespace, a list or a tuple that holds it is printed. This holds in this process, and in any
other, because it is pickled as it is. `redacted` is for text, just before somebody reads it. `ps` and Ray's list of jobs show the command
line as it was typed, which no program can change. They do not show environment variables.
"""

import os
import re

HIDDEN = "***"
VARIABLES = ("WANDB_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "DELTAL_REWARD_TOKEN")
"""Environment variables whose values must not be in any text."""
SHORTEST = 6
"""Characters. A shorter value is no key; it may be a word of any text."""

_USER_OF_URL = re.compile(r"(\w://)[^/\s'\"?#,]*@")
_QUERY_OF_URL = re.compile(r"(\w://[^\s'\"?#,]*\?)[^\s'\",]+")
_UNRECOGNIZED = "unrecognized arguments: "
"""How argparse begins when it shows words of the command line."""
_LONG_WORD = re.compile(r"(?<![\w./-])(?!--)[\w-]{32,}(?![\w./-])")
_VALUE = re.compile(
    r"(--[\w.-]*(?:wandb[\w.-]*[._-]k\w*|api[_-]?key|password|secret|token)(?:=| ))(?!--)\S+", re.IGNORECASE
)


class Key(str):
    """A credential. Its repr hides all of it."""

    def __repr__(self) -> str:
        return repr(HIDDEN)


class Address(str):
    """URLs, or paths of files, separated by commas. Their repr hides the user, the password and the query."""

    def __repr__(self) -> str:
        return repr(redacted(str(self)))  # redacted() gives a text without credentials back as it is

    def split(self, *args: str, **kwargs: int) -> list[str]:  # type: ignore[override]
        """As str.split; the host splits --reward.remote_url and keeps the parts."""
        return [Address(part) for part in super().split(*args, **kwargs)]  # type: ignore[arg-type]


def shown(value: object) -> str:
    """str(value), without credentials."""
    return HIDDEN if isinstance(value, Key) else redacted(str(value))


def redacted(text: str) -> str:
    """The text with *** in place of credentials: of URLs, the values of VARIABLES, and in argparse's words about a mistyped flag."""
    for name in VARIABLES:
        value = os.environ.get(name, "")
        if len(value) >= SHORTEST:
            text = text.replace(value, HIDDEN)
    if "://" in text:
        text = _QUERY_OF_URL.sub(rf"\1{HIDDEN}", _USER_OF_URL.sub(rf"\1{HIDDEN}@", text))
    said, mark, words = text.partition(_UNRECOGNIZED)
    return said + mark + _LONG_WORD.sub(HIDDEN, _VALUE.sub(rf"\1{HIDDEN}", words)) if mark else text
