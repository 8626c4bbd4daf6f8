r"""The answer that a response gives: the last \boxed{...}, <answer>...</answer> or "#### n" of the text."""

import re
from collections import deque

FALLBACKS = ("none", "whole")

_BOXED = re.compile(
    r"\\(?:boxed|fbox)(?![a-zA-Z])\s*(?:(?P<brace>\{)|(?P<bare>[-+.\d]\S*|\\(?!boxed|fbox)\S+|[a-zA-Z](?![a-zA-Z])\S*))"
)
# What the host's decoding leaves at the end of a response.
_SPECIAL_TOKEN = re.compile(r"(?:<\|[^|<>\n]{1,40}\|>|</s>|<eos>|<pad>)\Z")
_LONGEST_TOKEN = 44
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_TAGGED = re.compile(r"<answer>((?:(?!<answer>)[\s\S])*?)</answer>")
_HASHES = re.compile(
    r"(?:^[ \t]{0,8}\*{0,2}####[ \t]{0,8}(\S[^\n]*)|####[ \t]{0,8}([-+$\\(]?[\d.][^\n<]*))", re.MULTILINE
)


def extract_answer(response: str, fallback: str = "none") -> str | None:
    r"""The answer given last in `response`, without its \boxed{} or tags; None where there is none.

    A \boxed{} whose braces do not balance (a response that was cut off) is no answer. Inside <answer> tags a \boxed{} is looked for
    again; special tokens at the end are no part of it. fallback "whole" takes the whole text where nothing marks an answer,
    "none" takes nothing.
    """
    if fallback not in FALLBACKS:
        raise ValueError(f"fallback is {fallback!r}, allowed are {', '.join(FALLBACKS)}")
    response = _without_special_tokens(response)
    found: list[tuple[int, str]] = []  # (position, answer)
    boxed = _last_boxed(response)
    if boxed is not None:
        found.append(boxed)
    for pattern in (_TAGGED, _HASHES):
        last = deque(pattern.finditer(response), maxlen=1)
        if last:
            match = last.pop()
            text = next(group for group in match.groups() if group is not None)
            inner = _last_boxed(text)
            found.append((match.end(), text.strip().removeprefix("####").rstrip("*") if inner is None else inner[1]))
    if found:
        return max(found)[1].strip() or None
    return (response.strip() or None) if fallback == "whole" else None


def _last_boxed(text: str) -> tuple[int, str] | None:
    r"""(where it ends, content) of the last whole \boxed{...}; also \boxed 5 and \fbox{...}."""
    closing = closing_braces(text) if r"box" in text else {}
    best = None
    end = -1
    for match in _BOXED.finditer(text):
        if match.start() < end:
            continue  # inside the one before: the outer one counts
        if match["bare"] is not None:
            best = match.end(), match["bare"].rstrip("$.,")
        elif match.start("brace") in closing:
            end = closing[match.start("brace")]
            best = end, text[match.end() : end]
    return best


def _without_special_tokens(text: str) -> str:
    """One token at a time from the end: a search from the start takes quadratic time on long stretches of white space."""
    end = len(text)
    while True:
        while end and text[end - 1].isspace():
            end -= 1
        token = _SPECIAL_TOKEN.search(text[max(0, end - _LONGEST_TOKEN) : end])
        if token is None:
            return text[:end]
        end -= len(token[0])


def balanced(text: str) -> bool:
    """Whether every brace that LaTeX counts is closed."""
    braces = [match[0] for match in _BRACES.finditer(text) if len(match[0]) == 1]
    return 2 * len(closing_braces(text)) == len(braces)


def closing_braces(text: str) -> dict[int, int]:
    """Position of each balanced opening brace -> that of its closing one. One pass, however deep; escaped braces count as text."""
    pairs: dict[int, int] = {}
    opened: list[int] = []
    for match in _BRACES.finditer(text):
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            pairs[opened.pop()] = match.start()
    return pairs
