"""Answers in words, compared as text."""

import re

from deltal_openrlhf.grading.normalize import unwrap_command

_WORDS = re.compile(r"[A-Za-z][A-Za-z' -]+")
# Words, and not xyz, which may be a product, or sin x.
_PHRASE = re.compile(
    r"(?!.*\b(?:sin|cos|tan|log|ln|sqrt|pi|exp)\b)(?:[A-Z][a-z' -]+|[A-Za-z]{4,}|[A-Za-z']+(?:[ -][A-Za-z']+)+\??|\?)"
)


def plain(text: str) -> str:
    r"""For comparing text: without spaces and \text{}, and where it is words, without case."""
    words = unwrap_command(text, r"\text")
    if _WORDS.fullmatch(words):
        return re.sub(r"[\s-]+", "", words).casefold()
    # Two numbers stay two numbers.
    return re.sub(
        r"(?<!\d)\s+|\s+(?!\d)|(?<=[_^])\{(?=[\da-zA-Z]\})|(?<=[_^]\{[\da-zA-Z])\}", "", text.replace(r"\text", "")
    )


def is_phrase(text: str) -> bool:
    """Whether the text is words, which nothing but the same words equals."""
    return bool(_PHRASE.fullmatch(text))
