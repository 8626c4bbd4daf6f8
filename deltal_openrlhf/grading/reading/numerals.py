r"""Numbers that are not written in plain digits: twenty-one, two thirds, 3rd, negative 3, 0.\overline{27}, 0.(3), 0.333..."""

import re

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_VALUES = {word: value for value, word in enumerate(_UNITS)} | {word: 10 * (i + 2) for i, word in enumerate(_TENS)}
_LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ORDINALS = {
    "first": "one", "second": "two", "third": "three", "fifth": "five", "eighth": "eight", "ninth": "nine", "twelfth": "twelve",
}  # fmt: skip
_PARTS = {"half": 2, "halves": 2, "quarter": 4, "quarters": 4}
_POSITIVE = re.compile(r"^(?:positive|plus)\s+(?=[\d\\.a-z])", re.IGNORECASE)
_AND_A_HALF = re.compile(r"(-?\d+)\s+and\s+(?:a|one)[\s-]half\b")
_TWICE = re.compile(r"([\w,. -]{1,100}?)\s\(([\w,. -]{1,100})\)")
_NEGATIVE = re.compile(r"^(?:negative|minus)\s+(?=[\d\\.a-z])", re.IGNORECASE)
_ORDINAL = re.compile(
    r"(?:the\s+)?(\d{1,9})[\s-]?\^?\s?\{?\s?(?:\\text\s?\{\s?)?(st|nd|rd|th)\s?\}{0,2}", re.IGNORECASE
)
_NO_NOUN = re.compile(
    r"(?:to|of|or|and|by|in|at|point|squared|cubed|times|plus|minus|over|less|more|than|is|are|if|as|per|divided|choose|mod|half|side)\b"
)
_NOUN = re.compile(r"[a-zA-Z %\\{}]*")
_DOT = r"\\dot\s*\{?\s*(\d)\s*\}?"
_REPEATED = re.compile(
    r"(\d{0,30})\.(\d{0,30})(?:\\(?:overline|bar)\s*\{?(\d{1,30})(?!\d)\}?|"
    + _DOT
    + r"(?:(\d{0,30})"
    + _DOT
    + r")?|\((\d{1,30})\)(?![\^!(\w.*/\\]))"
)
_GOES_ON = re.compile(r"(?<![\d.])(\d{0,30})\.(\d{2,60})\s*(?:\.{3,}|\\[lc]?dots(?![a-z]))(?!\s*[\d,])")


def in_digits(text: str) -> str:
    """Number words, ordinals and signs in words as digits, where they are the whole answer or stand before what is counted."""
    text = _POSITIVE.sub("", _NEGATIVE.sub("-", text))
    if "half" in text:
        text = _AND_A_HALF.sub(r"\1\\frac{1}{2}", text)
    if text.endswith(")") and (twice := _TWICE.fullmatch(text)):  # 5 (five)
        values = in_digits(twice[1]), in_digits(twice[2])
        return values[0] if values[0] == values[1] else text
    if text[-1:] in "tdhTDH}":
        ordinal = _ORDINAL.fullmatch(text)
        if ordinal:
            return ordinal[1] if ordinal[2].lower() == _ending(ordinal[1]) else text
    if text[:1] == "-" and text[1:2].isalpha():
        return "-" + _words_in_digits(text[1:])
    return _words_in_digits(text) if text[:1].isalpha() else text


def _ending(number: str) -> str:
    """rd of 3, th of 13."""
    return "th" if number[-2:-1] == "1" else {"1": "st", "2": "nd", "3": "rd"}.get(number[-1], "th")


def _words_in_digits(text: str) -> str:
    tokens = list(re.finditer(r"[A-Za-z]+", text[:200]))
    words = [token[0].lower() for token in tokens]
    if not tokens or tokens[0].start():
        return text
    if words[0] == "the" and len(words) > 1:
        tokens, words = tokens[1:], words[1:]
        if not _is_ordinal(words[-1]):
            return text
    if words[0] in ("a", "an") and words[1:2] and (words[1] in ("hundred", "dozen", *_LARGE) or _part(words[1])):
        words[0] = "one"
    if words[0] not in _VALUES and words[0] not in _PARTS and not _is_ordinal(words[0]):
        return text
    used, value = _number(words)
    end = tokens[used - 1].end() if used else tokens[0].start()
    between, rest = text[end : end + 1], text[end:].strip()
    last = used == len(words) - 1
    if last and _is_ordinal(words[-1]) and (not used or words[used - 1] in (*_TENS, "hundred")):
        total = _number([*words[:-1], _cardinal(words[-1])])
        return str(total[1]) if total[0] == len(words) else text
    if used and last and (part := _part(words[used])) and between in (" ", "-"):
        return rf"\frac{{{value}}}{{{part}}}"
    if used and words[used : used + 3] == ["and", "a", "half"] and len(words) == used + 3:
        return rf"{value}\frac{{1}}{{2}}"
    if not used and len(words) == 1 and words[0] in _PARTS:
        return rf"\frac{{1}}{{{_PARTS[words[0]]}}}"
    if not used or between == "-" or rest and (between != " " or _NO_NOUN.match(rest) or not _NOUN.fullmatch(rest)):
        return text
    return f"{value} {rest}".strip()


def _number(words: list[str]) -> tuple[int, int]:
    """(how many of the words make a number, that number)."""
    total, group, used, last = 0, 0, 0, 10**15
    for i, word in enumerate(words):
        if word in _VALUES:
            value = _VALUES[word]
            if value >= last or value >= 10 and last < 100:
                break
            group, last = group + value, 10 if value in range(20, 100, 10) else value
        elif word == "hundred" and used and 0 < group < 100:
            group, last = group * 100, 100
        elif word in _LARGE and used and group:
            total, group, last = total + group * _LARGE[word], 0, 1000
        elif word == "and" and last == 100 and i + 1 < len(words) and words[i + 1] in _VALUES:
            continue
        else:
            break
        used = i + 1
    return used, total + group


def _cardinal(word: str) -> str:
    """five of fifth, twenty of twentieth; "" for other words."""
    if word in _ORDINALS:
        return _ORDINALS[word]
    stem = word.removesuffix("th")
    stem = stem.removesuffix("ie") + "y" if stem.endswith("ie") else stem
    return stem if stem != word and (stem in _VALUES or stem in ("hundred", *_LARGE)) else ""


def _is_ordinal(word: str) -> bool:
    return bool(_cardinal(word))


def _part(word: str) -> int:
    """3 of third and thirds; 0 of what is no part."""
    if word in _PARTS:
        return _PARTS[word]
    number = _VALUES.get(_cardinal(word.removesuffix("s")), 0)
    return number if number > 2 else 0


def without_repetition(text: str) -> str:
    r"""0.1\overline{6}, 0.1\dot{6}, 0.1(6) and 0.1666... as \frac{15}{90}."""
    if "." not in text:
        return text
    text = _REPEATED.sub(_repeated, text)
    return _GOES_ON.sub(_goes_on, text)


def _repeated(match: re.Match[str]) -> str:
    period = match[3] or match[7] or f"{match[4]}{match[5] or ''}{match[6] or ''}"
    return _fraction(match[1], match[2], period)


def _goes_on(match: re.Match[str]) -> str:
    """The fraction of a decimal whose last digits repeat, and the decimal itself where it has enough places to stand for a number."""
    whole, digits = match[1], match[2]
    for length in range(1, 1 + len(digits) // 2):
        period = digits[-length:]
        fixed = digits
        while fixed.endswith(period):
            fixed = fixed[:-length]
        times = (len(digits) - len(fixed)) // length
        if times >= 3 or times == 2 and not fixed:
            return _fraction(whole, fixed, period)
    return f"{whole}.{digits}" if len(digits) >= 6 else match[0]


def _fraction(whole: str, fixed: str, period: str) -> str:
    over = int((whole or "0") + fixed + period) - int((whole or "0") + fixed)
    return rf"\frac{{{over}}}{{{'9' * len(period) + '0' * len(fixed)}}}"
