r"""The answer that a response gives: the last \boxed{...}, <answer>...</answer> or "#### n" of the text."""

import re
from collections.abc import Iterator

from deltal_openrlhf.grading.reading.sentences import is_value, says_answer, starts_with_value, stated, without_lead

FALLBACKS = ("none", "answer-line", "whole")
FALLBACK_HELP = "nothing (none), what follows the last 'Answer:' on its line (answer-line) or the whole text (whole)"

_BOXED = re.compile(
    r"\\(?:boxed|fbox)(?![a-zA-Z])\s*(?:(?P<brace>\{)|(?P<bare>[-+.\d]\S*|\\(?!boxed|fbox)\S+|[a-zA-Z](?![a-zA-Z])\S*))"
)
# What ends a turn: a model that was trained without a stop may go on with one of its own making.
_END_OF_TURN = re.compile(
    r"<\|(?:im_end|endoftext|eot_id|eom_id|end_of_text|return)\|>|<\|end\|>(?!<\|start\|>assistant)|<end_of_turn>|</s>|<eos>"
    r"|<｜end▁of▁sentence｜>"
)
# What else the host's decoding leaves at the end of a response.
_SPECIAL_TOKEN = re.compile(r"(?:<\|[^|<>\n]{1,40}\|>|<pad>)\Z")
_LONGEST_TOKEN = 44
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_THOUGHTS = (("<think>", "</think>"), ("<thinking>", "</thinking>"))
_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
_HEADING = re.compile(
    r"(?:^[ \t]{0,8}\*{0,2}####(?!#)[ \t]{0,8}(\S[^\n]*)|(?<!#)####(?!#)[ \t]{0,8}([-+$\\(]?[\d.][^\n<]*))",
    re.MULTILINE,
)
_NUMBERED = re.compile(r"1?\d[.):]\s+[A-Za-z]")  # "#### 2. Verification"
_ASSIGNED = re.compile(r"[a-zA-Z]\w{0,3}\s*(?:=|<|>|\\(?:le|ge|in)(?![a-z]))\s*\S")
_LETTER = re.compile(r"\(?[A-J]\)?[.:]?")
_ANSWER_LINE = re.compile(r"(?<![^\W_])answer[*_]{0,2}\s*[:：][*_\s]*([^\n*_\s][^\n]*)", re.IGNORECASE)
_EMPTY = re.compile(
    r"(?:[\s{}$.?_…]|\\(?:[ ,;:!_]|\Z)|\\phantom\s*\{[^{}]*\}|\\(?:boxed|fbox|text|mathrm|q?quad|[lc]?dots|square|Box)(?![a-zA-Z])"
    r"|(?:(?:your|the|final|my)\ )*answer(?:\ here)?)*",
    re.IGNORECASE,
)
_LONGEST_EMPTY = 60
_BETWEEN_BOXES = re.compile(
    r"\s*(?:[,;、，；]\s*(?:(?:and|or)\b)?|(?:and|or)\b|[和或及])\s*(?:\\?[a-zA-Z]+(?:_\{?\w{1,3}\}?)?\s*=)?\s*"
)
_MARKUP = re.compile(r"\\[()\[\],;! ]|\\q?quad|\\text\s*\{|[$*{}~]")
_LONGEST_BETWEEN = 60


def extract_answer(response: str, fallback: str = "none") -> str | None:
    r"""The answer given last in `response`, without its \boxed{} or tags; None where there is none.

    Of boxes that only commas, "and" or "or" part, all are the answer: a list. A \boxed{} that is empty, or whose braces do not balance
    (a response that was cut off), is no answer. Inside <answer> tags a \boxed{} is looked for again. A "####" line counts if it holds
    a value, or words where nothing follows them and no box or tag stands before. What an unfinished <think> holds is no answer; what
    follows an end-of-turn token is not the response. Where nothing marks an answer, fallback "none" takes nothing, "answer-line" what
    follows the last "Answer:", "whole" the whole text, of which an unfinished <think> is a part.
    """
    if fallback not in FALLBACKS:
        raise ValueError(f"fallback is {fallback!r}, allowed are {', '.join(FALLBACKS)}")
    whole = first_turn(response)
    finished = without_unfinished_thought(whole)
    answer = _marked(finished)
    if answer is None and fallback == "answer-line":
        answer = _answer_line(finished)
    if answer is None and fallback == "whole":
        answer = (_marked(whole) if len(whole) > len(finished) else None) or whole.strip()
    return answer or None


def first_turn(response: str) -> str:
    """Up to the first token that ends a turn, without special tokens at the end."""
    end = _END_OF_TURN.search(response)
    return _without_special_tokens(response[: end.start()] if end else response)


def tagged(text: str) -> Iterator[tuple[int, str]]:
    """(where it ends, content) of each closed <answer>...</answer>, the innermost of nested ones."""
    start = None
    for tag in _TAG.finditer(text):
        if not tag[1]:
            start = tag.end()
        elif start is not None:
            yield tag.end(), text[start : tag.start()]
            start = None


def _marked(text: str) -> str | None:
    found = [answer for answer in (_last_boxed(text), _last_tagged(text)) if answer is not None]
    heading = _last_heading(text, alone=not found)
    if heading is not None:
        found.append(heading)
    return max(found)[1].strip() if found else None


def _last_boxed(text: str) -> tuple[int, str] | None:
    r"""(where it ends, content) of the last \boxed{...} that is whole and not empty, with those before it in a list; also \boxed 5 and
    \fbox{...}."""
    if r"box" not in text:
        return None
    closing = closing_braces(text)
    boxes: list[tuple[int, int, str]] = []  # (start, end, content)
    for match in _BOXED.finditer(text):
        if boxes and match.start() < boxes[-1][1]:
            continue  # inside the one before: the outer one counts
        if match["bare"] is not None:
            end, content = match.end(), match["bare"].rstrip("$.,")
        elif match.start("brace") in closing:
            end = closing[match.start("brace")] + 1
            content = text[match.end() : end - 1]
        else:
            continue
        if not _is_empty(content):
            boxes.append((match.start(), end, content.strip()))
    if not boxes:
        return None
    first = len(boxes) - 1
    while first and _is_list(text, boxes[first - 1][1], boxes[first][0]):
        first -= 1
    contents = [content for _, _, content in boxes[first:]]
    return boxes[-1][1], contents[0] if len(set(contents)) == 1 else ", ".join(contents)


def _is_list(text: str, start: int, end: int) -> bool:
    """Whether what stands between two boxes makes a list of them."""
    return end - start <= _LONGEST_BETWEEN and bool(_BETWEEN_BOXES.fullmatch(_MARKUP.sub(" ", text[start:end])))


def _is_empty(content: str) -> bool:
    content = content.strip()
    return len(content) <= _LONGEST_EMPTY and bool(_EMPTY.fullmatch(content))


def _last_tagged(text: str) -> tuple[int, str] | None:
    last = None
    for end, content in tagged(text):
        if not _is_empty(content):
            last = end, content
    if last is None:
        return None
    inner = _last_boxed(last[1]) or _last_heading(last[1], alone=True)
    return last if inner is None else (last[0], inner[1])


def _last_heading(text: str, alone: bool) -> tuple[int, str] | None:
    """The last "####" line that is a value. alone: nothing else marks an answer, so a value with words after it is one too ("42 and so
    on"), and words that end the text."""
    if "####" not in text:
        return None
    lines = [
        (match.end(), " ".join((match[1] or match[2]).replace("**", "").strip("*`# \t").split()))
        for match in _HEADING.finditer(text)
    ]
    for end, line in reversed(lines):
        value = without_lead(line)
        counted = alone and starts_with_value(line) and not _NUMBERED.match(line)
        if counted or says_answer(line) and value != line or _is_plain(value):
            return end, stated(value)
    if not (alone and lines):
        return None
    end, line = lines[-1]
    return None if text[end:].strip() or _NUMBERED.match(line) or _is_empty(line) else (end, line)


def _is_plain(line: str) -> bool:
    return is_value(line) or bool(_ASSIGNED.match(line)) or bool(_LETTER.fullmatch(line))


def _answer_line(text: str) -> str | None:
    last = None
    for match in _ANSWER_LINE.finditer(text):
        last = match[1]
    return None if last is None or _is_empty(last) else last.strip("* \t")


def without_unfinished_thought(text: str) -> str:
    """Up to a <think> that nothing closes."""
    closed = max(text.rfind(closing) for _, closing in _THOUGHTS)
    opened = [start for opening, _ in _THOUGHTS if (start := text.find(opening, closed + 1)) >= 0]
    return text[: min(opened)] if opened else text


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
