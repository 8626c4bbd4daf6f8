r"""Answers in words, compared as text.

Letters are no words: ab may be a product and R - r a difference, so neither case nor a hyphen is ignored there. Words are told from
them by their length, their vowels and their case.
"""

import re

from deltal_openrlhf.grading.reading.text import TEXT

_LETTERS_ONLY = re.compile(r"[A-Za-z][A-Za-z' ,.;:!?-]*")
_TOKEN = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
_CASE = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_DOUBLED = re.compile(r"(?:([a-z])\1)+")  # AABB and Aabb, genotypes
_MINUS = re.compile(r"\s-|-\s|-[A-Za-z](?![A-Za-z])")  # R-r, total - part; but x-axis, non-real
_MATH = re.compile(
    r"\b(?:sin|cos|tan|log|ln|sqrt|pi|exp|inf|infty|infinity|alpha|beta|gamma|delta|epsilon|theta|lambda|sigma|omega)\b"
)
_SHORT_WORDS = set(
    "a all an and any are day dne do for if in is it its no not odd of on one or out red set six ten the to top two yes".split()
)
_SPACES = re.compile(
    r"(?<!\d)\s+|\s+(?!\d)|(?<=[_^])\{(?=[\da-zA-Z]\}(?! ?[\da-zA-Z.]))|(?<=[_^]\{[\da-zA-Z])\}(?! ?[\da-zA-Z.])"
)
_BETWEEN_WORDS = re.compile(r"(?<=[a-zA-Z]{2}) +(?=[a-zA-Z])|(?<=[a-zA-Z]) +(?=[a-zA-Z]{2})")
_TEXTS_IN_A_ROW = re.compile(r"\}\s*\\text\s*\{\s*")
_BETWEEN_LETTERS = re.compile(r"(?<=[a-zA-Z]) +(?=[a-zA-Z])")

_ARTICLES = ("a", "an", "the")
_SHORT_ANSWER = re.compile(
    r"(yes|no|true|false)(?:\s*[,.;:!]\s*|\s+(?=(?:it|he|she|they|there|we|this|that|because|since)\b))(.+)",
    re.IGNORECASE | re.DOTALL,
)
_OPPOSITE = {
    "yes": {"no", "not", "false", "wrong", "incorrect"}, "no": {"yes", "wrong", "incorrect"},
    "true": {"no", "not", "false", "wrong", "incorrect"}, "false": {"true", "yes", "wrong", "incorrect"},
}  # fmt: skip
# What says the same of its subject in one word or in several.
_SAYINGS = {
    "do not exist": "does not exist", "dne": "does not exist", "is not defined": "is undefined", "is divergent": "diverges",
    "is convergent": "converges", "divergent": "diverges", "convergent": "converges", "no solutions": "no solution",
    "infinite number of": "infinitely many", "infinite number": "infinitely many",
}  # fmt: skip
_VERBS = (
    "is", "are", "was", "were", "will be", "would be", "must be", "falls on", "does not exist", "diverges", "converges",
)  # fmt: skip
_EXISTENCE = ("has", "have", "had", "there are", "there is")
_QUANTITIES = ("infinitely many ", "no ")
_WINS = (
    "wins",
    "won",
    "will win",
    "can win",
    "can always win",
    "always wins",
    "wins the game",
    "has a winning strategy",
    "is the winner",
)
_DAYS = frozenset(
    "monday tuesday wednesday thursday friday saturday sunday january february march april may june july august september october november "
    "december".split()
)
_KINDS = {
    "triangle": "isosceles equilateral scalene acute obtuse", "angle": "acute obtuse reflex",
    "function": "even odd linear quadratic cubic exponential logarithmic constant periodic injective surjective bijective",
    "number": "prime composite rational irrational even odd", "integer": "even odd prime composite", "variable": "discrete continuous",
    "sequence": "arithmetic geometric convergent divergent", "series": "arithmetic geometric convergent divergent",
    "events": "independent dependent", "lines": "parallel perpendicular skew",
}  # fmt: skip
"""Nouns that may be left out behind what says which kind they are."""
_COUNTED = ("infinitely many", "no solution")
_NO_SUBJECT = set(
    "but if unless when only not no never left right either neither or nor and loser losers lost loses losing defeated "
    "beaten wrong incorrect false opposite opposites worst excluded eliminated rejected fails failed cannot isn't excludes runner".split()
)


def same_text(gold: str, pred: str) -> bool:
    r"""Whether two normalised answers are the same text: spaces and \text{} aside, and where both are words, case, hyphens, articles and
    a subject that one of them leaves out as well."""
    if gold == pred:
        return True
    a, b = _flat(gold), _flat(pred)
    for short, long in ((a, b), (b, a)):
        answered = _SHORT_ANSWER.fullmatch(long)
        if answered and answered[1].lower() == short.lower():
            return not _OPPOSITE[answered[1].lower()] & set(_tokens(answered[2]))
    if is_phrase(gold) and is_phrase(pred):
        return _same_words(a, b)
    return _compact(gold) == _compact(pred)


def _compact(text: str) -> str:
    r"""Without \text{} and spaces, except those of which words are made: m s in \text{} is not ms, and a bc is no text."""
    if r"\text" in text:
        text = TEXT.sub(lambda match: _BETWEEN_LETTERS.sub("~", match[1]), _TEXTS_IN_A_ROW.sub(" ", text))
    return _SPACES.sub("", _BETWEEN_WORDS.sub("~", text))


def is_phrase(text: str) -> bool:
    """Whether the text is words, which nothing but the same words equals."""
    text = _flat(text)
    if text == "?":
        return True
    if not _LETTERS_ONLY.fullmatch(text) or _MINUS.search(text) or _MATH.search(text):
        return False
    return any(_is_word(match[0]) for match in _TOKEN.finditer(text))


def _flat(text: str) -> str:
    return TEXT.sub(r"\1", text).strip() if r"\text" in text else text


def _is_word(token: str) -> bool:
    if token.lower() in _SHORT_WORDS:
        return not token.isupper() or len(token) > 2  # AN, IN, OF are segments
    if len(token) < 4 and not (len(token) == 3 and token.istitle()) or not _CASE.fullmatch(token):
        return False
    if token.isupper() and list(token) == sorted(set(token)):
        return False  # ABCD
    return bool(re.search("[aeiouyAEIOUY]", token)) and not _DOUBLED.fullmatch(token.lower())


def _same_words(gold: str, pred: str) -> bool:
    a, b = _saying(_tokens(gold)), _saying(_tokens(pred))
    return a.replace(" ", "") == b.replace(" ", "") or _says(a, b) or _says(b, a)


def _tokens(text: str) -> list[str]:
    text = re.sub(r"\bcan(?:'t|not)\b", "can not", text.lower()).replace("an infinite number of", "infinitely many")
    tokens = re.sub(r"n't\b", " not", text).replace("-", " ").replace("'", "").split()
    tokens = [token.strip(",.;:!?") for token in tokens]
    return tokens[1:] if len(tokens) > 1 and tokens[0] in _ARTICLES else tokens


def _saying(tokens: list[str]) -> str:
    """One spelling of what several words say."""
    text = " ".join(tokens)
    for saying, same in _SAYINGS.items():
        if text == saying or text.endswith(" " + saying):
            return text[: len(text) - len(saying)] + same
        if text.startswith(saying + " "):
            return same + text[len(saying) :]
    return text


def _says(bare: str, full: str) -> bool:
    """Whether `full` says `bare` of a subject: the limit does not exist, it is an ellipse, infinitely many solutions."""
    if bare in _COUNTED:
        before, found, after = full.partition(bare)
        ahead, behind = before.split(), after.split()
        has = ahead in ([], ["there", "are"], ["there", "is"]) or len(ahead) <= 5 and ahead[-1] in ("has", "have")
        ends = len(behind) <= 2 or behind[:2] == ["solutions", "to"] and len(behind) <= 5
        return bool(found) and has and ends and not _NO_SUBJECT & {*ahead, *behind}
    if full in (f"it {bare}", f"this {bare}", f"{bare} exist") or _is_kind(full, bare):
        return True
    if full.startswith(f"{bare} ") and full.removeprefix(f"{bare} ") in _WINS:
        return len(bare.split()) <= 3 and not _NO_SUBJECT & set(bare.split())
    for verb in _VERBS:
        subject, found, rest = f" {full} ".partition(f" {verb} ")
        said = (
            " ".join(_without_article(rest.split()))
            if verb.split()[-1] in ("is", "are", "was", "were", "be", "on")
            else verb
        )
        if found and _is_said(subject, said, bare) and _may_be_subject(subject):
            return bool(said)
    for verb in _EXISTENCE:
        subject, found, rest = f" {full} ".partition(f" {verb} ")
        if found and rest.strip() == bare and bare.startswith(_QUANTITIES) and _may_be_subject(subject):
            return True
    return bare in _DAYS and full.startswith(("on ", "in ")) and _without_article(full.split()[1:]) == [bare]


def _is_said(subject: str, said: str, bare: str) -> bool:
    if said == bare or _is_kind(said, bare) or bare in _DAYS and said == f"on {bare}":
        return True
    return _is_kind(bare, said) and {"it", "this", bare.split()[-1]} & set(subject.split()) != set()


def _is_kind(full: str, bare: str) -> bool:
    """Isosceles triangle and isosceles."""
    adjective, _, noun = full.rpartition(" ")
    return adjective == bare and bare in _KINDS.get(noun, "").split()


def _may_be_subject(words: str) -> bool:
    return len(words.split()) <= 5 and not _NO_SUBJECT & set(words.split())


def _without_article(words: list[str]) -> list[str]:
    return words[1:] if words[:1] and words[0] in _ARTICLES else words
