r"""Values that words name: maximum 5, minimum -3 is min = -3, max = 5; mean 12.4 is \bar{x} = 12.4; 7 R 3 is quotient 7, remainder 3."""

import re

from deltal_openrlhf.grading.leaves import Same, all_of
from deltal_openrlhf.grading.reading.numerals import in_digits
from deltal_openrlhf.grading.reading.sentences import starts_with_value

_NAMES = {
    "maximum": "max|maximum|largest|greatest|highest", "minimum": "min|minimum|smallest|least|lowest",
    "mean": r"mean|average|avg|arithmetic mean|x-bar", "median": "median|med", "mode": "mode", "range": "range",
    "standard deviation": r"standard deviation|std dev|stdev|std|sd", "variance": "variance|var",
    "lower quartile": "first quartile|lower quartile|q1", "upper quartile": "third quartile|upper quartile|q3",
    "interquartile range": "interquartile range|iqr", "quotient": "quotient", "remainder": "remainder|rem",
}  # fmt: skip
_MEANING = {spelling: name for name, spellings in _NAMES.items() for spelling in spellings.split("|")}
_SYMBOLS = {
    r"\bar{x}": "mean", r"\bar x": "mean", r"\overline{x}": "mean", r"\mu": "mean", "s": "standard deviation", "s_x": "standard deviation",
    r"\sigma": "standard deviation", "s^2": "variance", r"\sigma^2": "variance", r"\tilde{x}": "median", r"\tilde x": "median",
    "Q_1": "lower quartile", "Q_3": "upper quartile", "q": "quotient", "Q": "quotient", "r": "remainder", "R": "remainder",
}  # fmt: skip
_MARK = re.compile(
    r"max|min|mean|average|avg|x-bar|med|mode|range|dev|std|sd|var|quartile|q[13]|iqr|quot|rem|largest|smallest|greatest|least|est\b"
    r"|(?<![a-z])r(?![a-z])",
    re.IGNORECASE,
)
_TEXT = re.compile(r"\\(?:text|operatorname)\s*\{([^{}]*)\}|\\(?=(?:max|min)(?![a-z]))")
_PARTS = re.compile(r"\s*(?:[,;]\s*(?:and |with )?|\band |\bwith )\s*")
_LEAD = re.compile(r"(?:(?:an?|the|its|has|value)\s+)+", re.IGNORECASE)
_NAME = "(?P<name>" + "|".join(sorted(map(re.escape, _MEANING), key=len, reverse=True)) + ")"
_WORDED = re.compile(
    rf"{_NAME}\.?(?: values?)?(?:\s*[=:]\s*|\s+(?:(?:is|of|equals|equal to)\s+)?)(?P<value>\S.*)", re.IGNORECASE
)
_SYMBOLIC = re.compile(r"(?P<name>[^=:]{1,15}?)\s*[=:]\s*(?P<value>\S[^=]*)")
_BEHIND = re.compile(rf"(?P<value>[^()]+?) ?(?:\(|(?:is|as) | )(?:the )?{_NAME}(?: value)?\)?", re.IGNORECASE)
_REMAINDER = re.compile(
    r"(?P<quotient>.+?),? ?(?:and |with )?(?:an? |the )?(?:(?<=[\d ])[Rr]|(?<=[ ,])rem(?:ainder|\.)?)"
    r"(?: (?:is|of)|:| =)? ?(?P<remainder>-?[\d\\x].*)"
)
_NAME_IN_WORDS = re.compile(rf"(?<![a-z\\_]){_NAME}(?![a-z])|\d ?[Rr] ?\d", re.IGNORECASE)
_LETTER = re.compile(r"-?\d+ ?[Rr] ?\d+")


def same_named(gold: str, pred: str, same: Same) -> bool | None:
    """Whether two answers give the same values to the same names, of which one names them in words. None where one of them does not."""
    if not (_MARK.search(gold) or _MARK.search(pred)):
        return None
    a, b = _named(gold), _named(pred)
    if not a or not b or a.keys() != b.keys() or not (_has_words(gold) or _has_words(pred)):
        return None
    return all_of(same(value, b[name]) for name, value in a.items())


def _has_words(text: str) -> bool:
    """Whether a word or "7 R 3" says what a value is: R = 5 and r = 5 are two unknowns."""
    return bool(_NAME_IN_WORDS.search(_TEXT.sub(lambda match: f" {match[1]} " if match[1] else "", text)))


def _named(text: str) -> dict[str, str] | None:
    """Name -> value, the name in words where the table has one for its symbol."""
    text = " ".join(_TEXT.sub(lambda match: f" {match[1]} " if match[1] else "", text).split())
    divided = _divided(text)
    if divided:
        return divided
    named: dict[str, str] = {}
    for part in filter(None, _PARTS.split(text)):
        pair = _pair(_LEAD.sub("", part, count=1) if _LEAD.match(part) else part)
        if pair is None or pair[0] in named:
            return None
        named[pair[0]] = in_digits(pair[1])
    return named


def _divided(text: str) -> dict[str, str] | None:
    """7 R 3, 7 remainder 3, x+3 with remainder 5."""
    match = _REMAINDER.fullmatch(text)
    if match is None or "uotient" in text or "=" in match["quotient"] or not (_LETTER.fullmatch(text) or "rem" in text):
        return None
    return {"quotient": match["quotient"], "remainder": match["remainder"]}


def _pair(part: str) -> tuple[str, str] | None:
    symbolic = _SYMBOLIC.fullmatch(part)
    if symbolic and symbolic["name"] in _SYMBOLS:
        return _SYMBOLS[symbolic["name"]], symbolic["value"]
    worded = _WORDED.fullmatch(part) or (_BEHIND.fullmatch(part) if starts_with_value(part) else None)
    return (_MEANING[worded["name"].lower()], worded["value"]) if worded else None
