r"""A value in a sentence: "The answer is 42.", "Total: 42", "\approx 42" and "42, because ..." state 42.

What stands around the value is taken off; no number is ever picked out of a sentence, so "not 42" and "at least 42" stay what they
are. What is said of something else is an equation with that name: "The area is 42" is \text{area} = 42.
"""

import re

from deltal_openrlhf.grading.reading.denials import DENIAL, NO_NAME

_HEADING = re.compile(
    r"(?:#{1,6}\s{0,4})?[*_]{0,3}(?:(?:the|my)\s)?(?:(?:final|correct)\s)?(?:answer|result|solution)\s{0,4}:?[*_]{0,3}"
    r":?[ \t]{0,8}\n\s*(?=\S)",
    re.IGNORECASE,
)
_FENCED = re.compile(r"```(?:\w{1,12})?\n([^`]*)\n```")
_MARKUP = re.compile(r"^(\*{1,2}|_{1,2}|`)([^*_`\n]{1,200})\1(?=[\s:]|$)")
_LEADING_TEXT = re.compile(r"^\\text\s*\{([^{}]*)\}\s*")
_VALUE = r"(?:[-+]|\\pm)?\s*(?:\\?[$€£¥₹]\s*)?(?:\d|\.\d|\\(?:[dt]?frac|sqrt|pi|binom|infty|left|\{|\()|[(\[{]{1,3}\s*[-+]?[\d\\]|\$)"
_STARTS_WITH_VALUE = re.compile(_VALUE)
_ANSWER = (
    r"(?:(?:the|my|our|your|this)\s+)?(?:(?:final|correct|right|exact|numerical|numeric|required|desired|simplified|simplest|best|only"
    r"|requested|overall|closest|appropriate)\s+){0,3}(?P<noun>answers?|ans\.?|results?|solutions?(?:\s+set)?|values?|options?|choices?|outputs?"
    r"|statement|claim)"
    r"(?:\s+(?:to|of|for|in|here|then|now|the|this|that|question|problem|part|equation|form|simplest|therefore|thus|hence|letter)){0,7}"
)
_IS = (
    r"\s*(?:(?:\b(?:is|are|was|were|equals?|becomes|(?:would|will|should|must|has\s+to|turns\s+out\s+to)\s+be|comes\s+(?:out\s+)?to)\b"
    r"(?:\s+(?:(?:equal|simplified)\s+to|given\s+by|therefore|thus|hence|then|simply|just|indeed|clearly|now|also)\b)?|=|:)\s*){1,2}"
)
_OPENING = r"(?:(?:so|thus|hence|therefore|then|finally|and|consequently|overall|in conclusion|as a result|well)\b[,:]?\s*){1,3}"
_LEADS = [
    re.compile(_OPENING + r"(?=\S)", re.IGNORECASE),
    re.compile(_ANSWER + _IS + r"(?=\S)", re.IGNORECASE),
    re.compile(r"ans(?:wer)?\.?\s+(?=" + _VALUE + ")", re.IGNORECASE),
    re.compile(
        r"(?:there\s+(?:are|is|were|will\s+be|exist)|(?:i|we|you)\s+(?:get|got|have|obtain|find|conclude)(?:\s+that)?(?=\s+(?:\d|\$|\\))"
        r"|(?:i|we)\s+(?:choose|pick|select)(?=\s+\(?[A-J]\b)"
        r"|(?:it|this|that|which)(?:\s+(?:is|equals|gives|would\s+be)|'s)|giving|a\s+total\s+of|in\s+total|exactly|precisely|only"
        r"|about|approximately|approx\.?|roughly|around|ca\.)[,:]?\s+(?=\S)",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?:=>?|\\sim(?=\s?\$?-?\.?\d)|\\(?:approx|simeq|cong|rightarrow|Rightarrow|therefore|implies)(?![a-zA-Z])|:)\s*(?=\S)"
    ),
]
_VERB = r"\b(?:is|are|was|were|equals?|has|have|had)\b"
_NAMED = re.compile(
    r"(He(?=\s)|We(?=\s)|[A-Za-z][\w' \\{}(),^]{2,100}?)(?:\s*:|\s+(?:is|are|was|were|equals?|has|have|had|gets|got|makes|made|earns|earned"
    r"|costs?|needs|takes|took|gives|contains|pays|paid|spends|spent|(?:would|will|should|must)\s+be)(?:\s+(?:equal\s+to|exactly|about|approximately"
    r"|only|just|a\s+total\s+of))?)\s+(?=" + _VALUE + ")"
)
_SYMBOL = re.compile(
    r"([A-Za-z\\][\w\\(){}^|']{0,30})\s+(?:(?:is|(?:must|should|has\s+to)\s+be)(?:\s+equal\s+to)?|equals|(?:must|has\s+to)\s+equal)\s+"
    r"(?=" + _VALUE + ")"
)
_NO_NAME = re.compile(
    rf"(?i)\b(?:{NO_NAME}|when|least|most|more|less|fewer|than|between|option|choice|note|step|case|question|exercise|page)\b|n't|{_VERB}"
)
_ENDS = re.compile(
    r"\s*(?:\\text\s*\{\s*)?\(?\b(?:(?:is|are)\s+(?:(?:the|my|our)\s+)?(?:(?:final|correct|right)\s+)?(?:answers?|result|solution|option|choice|correct|right)"
    r"|(?:in\s+)?total|altogether|in\s+all|overall|approximately|approx\.?|exactly)\)?\s*\}?[.!]?\s*$",
    re.IGNORECASE,
)
_PROSE = re.compile(
    r"(?i:[.,;:!]?\s+(?:and\s+)?(?:so|which|because|since|as\s+(?:required|desired|expected|needed)|is\s+(?:the|our|my)|therefore|thus|hence)\b"
    r"|[.,;:!]\s+(?:and\s+)?(?:this|that|the|we|it)\b|\s+and\s+(?:this|that|the|we|it)\b|\s+\((?:since|because|as)\b)|\.\s+(?=[A-Z][a-z])"
)
_UNFINISHED = re.compile(r"(?<![a-zA-Z])(?:to|of|in|on|at|by|if|as|is|or)$")  # 5 m/s to
_REASON = re.compile(r"(?i)\W*(?:because|since)\b")
_ASSIGNED = re.compile(r"^[a-zA-Z](?:_\w)?\s*=\s*")
_LETTER = re.compile(r"\(?[A-J]\)?")
_CONTRAST = re.compile(r",\s?not\s(?P<other>[-+]?\d[\d./]*?)[.!]?$")
_STATEMENT = re.compile(
    r"(?i)\b(?:answer|value|result|solution|choice|option|number|total|correct|right)"
    r"\s(?:\w{1,12}\s){0,3}?(?:is|are|was|were|equals?|becomes?|must|should|has|would|will)\b|\b(?:is|are|be)\s(?:correct|right)\b|\b(?:choose|pick|select)\b"
    r"|\b(?:so|therefore|thus|hence|then),?\s(?:it|[a-z])\s(?:is|equals|must)\b"
)
_CALLED_RIGHT = re.compile(r"(?i)\b(?:right|correct|true|actual)\s(?:answer|value|result|one|choice|option|solution)\b")
_DONE_TO_IT = re.compile(
    r"(?i)\b(?:add(?:ed|ing)?|subtract\w{0,3}|multipl\w{1,5}|divid\w{1,3}|doubl\w{1,3}|halv\w{1,3}|half|twice|negative|opposite|squared?"
    r"|drop\w{0,4}|remov\w{1,3})\b"
)
_RESULT = re.compile(r"=\s?\$?$")
_STATED_AGAIN = re.compile(r"\b(?:is|are|was|be|get|have|equals|makes?|gives?)\s?:?\s?\$?$|:\s?\$?$")
_OTHER_LETTER = re.compile(r"\b[A-J]\b(?!')")
_CONFIRMED = re.compile(
    r"(?i)\b(?:which|that|this|it|and)\s(?:is|was|must\sbe)\s(?:indeed\s)?(?:(?:the|our|my)\s)?(?:(?:final|correct|right|required|desired)\s?)?"
    r"(?:answer|result|solution|value|choice|option)?[.!]?$"
)
_NUMBER = re.compile(
    r"(?i)\d|\b(?:zero|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w{3,5}teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty"
    r"|hundred|thousand|million)\b"
)
_WORD = re.compile(r"(?<![\\a-zA-Z])[A-Za-z]{3,}")
_CONTRAST_WITH = re.compile(
    r",?\s(?:\\text\s?\{\s?)?\(?\s?(?:and\s)?(?:not|rather\sthan|instead\sof)\s?\}?\s(?P<other>[^()]{1,40}|[^()]{0,40}\([^()]{1,40}\))\)?$"
)
_ROUNDS = 5


def stated(text: str) -> str:
    """The value that a sentence states; the text itself where it is none. White space has to be single spaces."""
    first = text[:1]
    if first.isdigit() or first in "-($+.":
        return _without_end(text)
    if not (first.isalpha() or first in "\\*=`_:"):
        return text
    value = without_lead(text)
    plain = _LEADING_TEXT.sub(r"\1 ", value)
    symbol = _SYMBOL.match(plain)
    if symbol and not _NO_NAME.search(symbol[1]):
        return f"{symbol[1]} = {_without_end(plain[symbol.end() :])}"
    named = _NAMED.match(plain)
    if named and not _NO_NAME.search(named[1]):
        name = re.sub(r"\\[a-zA-Z]+|[^A-Za-z' ]", " ", named[1])
        return rf"\text{{{' '.join(name.split())}}} = {_without_end(plain[named.end() :])}"
    return _without_end(value)


def without_heading(text: str) -> str:
    """Without a line above that says only that the answer follows, and without a fence around it."""
    if "\n" not in text:
        return text
    heading = _HEADING.match(text)
    text = text[heading.end() :] if heading else text
    fenced = _FENCED.fullmatch(text)
    return fenced[1] if fenced else text


def without_lead(text: str) -> str:
    """Without what leads to an answer: "So the answer is", "Answer:", "There are", "about", "="."""
    value = text
    for _ in range(_ROUNDS):
        before = value
        value = _MARKUP.sub(r"\2", value)
        for lead in _LEADS:
            match = lead.match(plain := _LEADING_TEXT.sub(r"\1 ", value))
            if match:
                value = plain[match.end() :].strip()
        if value == before:
            break
    return value or text


def says_answer(text: str) -> bool:
    """Whether it names itself the answer: "Answer: ...", "The final answer is ..."."""
    match = _LEADS[1].match(_LEADING_TEXT.sub(r"\1 ", text.lstrip("*_ ")).replace("*", ""))
    return match is not None and match["noun"].lower().startswith("ans")


def is_value(text: str) -> bool:
    r"""Whether it is a number or a formula, with no words but those of \text{}."""
    return bool(_STARTS_WITH_VALUE.match(text)) and not _WORD.search(
        _LEADING_TEXT.sub("", re.sub(r"\\text\s*\{[^{}]*\}", "", text))
    )


def starts_with_value(text: str) -> bool:
    """Whether a number or a formula stands first."""
    return bool(_STARTS_WITH_VALUE.match(text))


def _without_end(text: str) -> str:
    """Without what follows a value: "42, because ...", "42 is the answer", "42 in total"."""
    if " " not in text or text.replace(" ", "").isdigit():
        return text
    contrast = _CONTRAST_WITH.search(text)
    if (
        contrast
        and is_value(contrast["other"])
        and _is_number(text[: contrast.start()])
        and contrast["other"] != text[: contrast.start()]
    ):
        return text[: contrast.start()]  # 15 (not 16)
    prose = _PROSE.search(text)
    if prose and _is_whole(text[: prose.start()]):
        value = text[: prose.start()]
        if _agrees(text[prose.start() :], _ASSIGNED.sub("", value).strip("$ ")):
            return value
    end = _ENDS.search(text)
    return text[: end.start()].rstrip() if end and end.start() else text


def _agrees(tail: str, value: str) -> bool:
    """Whether what follows a value explains it: nothing takes it back, and no other value is stated."""
    contrast = _CONTRAST.search(tail)
    if contrast and contrast["other"] != value:
        tail = tail[: contrast.start()]
    if DENIAL.search(tail):
        return False
    end = tail.rstrip(" .!$")
    before = end.removesuffix(value)
    if before != end and _RESULT.search(before):
        return not _STATEMENT.search(before)  # because 6 * 7 = 42
    if before != end and _STATED_AGAIN.search(before) and not _NUMBER.search(before):
        return True  # so the answer is 42
    tail = _CONFIRMED.sub("", tail)
    letter = value.strip("()")
    if _STATEMENT.search(tail) or not tail.startswith((" is the ", " is our ")) and _CALLED_RIGHT.search(tail):
        return False
    if _LETTER.fullmatch(value) and any(other != letter for other in _OTHER_LETTER.findall(tail)):
        return False
    reason = _REASON.match(tail)
    if not _NUMBER.search(tail):
        return reason is not None or not _DONE_TO_IT.search(tail)
    if reason is None:
        return False
    because = tail[reason.end() :].lstrip(" $")
    return because.startswith(f"{value} =") if "=" in because else bool(_WORD.search(because))


def _is_whole(text: str) -> bool:
    """Whether a value or a choice ends where the text does."""
    if _UNFINISHED.search(text) or text.count("{") != text.count("}"):
        return False
    return is_value(_ASSIGNED.sub("", text)) or bool(_LETTER.fullmatch(text))


def _is_number(text: str) -> bool:
    """Whether it is one value: of an interval or a list, 3 may be left out."""
    return _is_whole(text) and not re.search(r"[(),\[\]]", text)
