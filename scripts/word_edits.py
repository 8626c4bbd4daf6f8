r"""Edits of gold answers in words that change the value: denials, doubts, currencies, letter case, scales, ranks, units, Chinese.

As gold_edits.py, whose edits change a sign or a digit. Few golds have a unit, so `dressed` gives plain numbers one.
"""

import random
import re
from collections.abc import Callable

Edit = Callable[[str, random.Random], str | None]
"""(gold, source of choices) -> another text; None where this edit does not apply."""

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_AMOUNT = re.compile(r"(-?\d+(?:\.\d+)?)(?: |\\text\{ )([a-z]{3,})\}?")
_LETTER = re.compile(r"\\[a-zA-Z]+|(?<![a-zA-Z])[a-zA-Z](?![a-zA-Z])")
_NO_VARIABLES = re.compile(
    r"[=|:<>,]|\\(?:text|mathrm|mathbb|mbox|operatorname|in|sum|prod|int|lim)(?![a-zA-Z])|[a-zA-Z]{2}"
)
_EMPTY = re.compile(r"(?i)no\b|not|none|empty|exist|undefined|never|impossible|\\varnothing|\\\{\s*\\\}|diverge|DNE")

_CURRENCIES = {"\\$": "dollars", "€": "euros", "£": "pounds", "¥": "yuan", "₹": "rupees"}
_CURRENCY_WORDS = ("dollars", "euros", "pounds", "rupees", "cents", "yuan")
_UNIT_WORDS = tuple("meters kilometers feet inches hours minutes seconds days grams kilograms liters".split())
_NOUNS = ("apples", "students", "marbles", "tickets", "books")

_DENIALS = (
    "not {}", "It is not {}", "{} is wrong", "{}, which is wrong", "anything but {}", "never {}", "The answer is not {}", "{} is incorrect",
    "everything except {}", "isn't {}", "neither {} nor 0", "{} is not the answer", "cannot be {}",
)  # fmt: skip
_DOUBTS = (
    "maybe {}", "perhaps {}", "possibly {}", "It could be {}", "{} or something else", "I am not sure, {}", "either {} or 7919",
    "It might be {}", "probably {}", "{} or 7919", "{} if x is odd",
)  # fmt: skip
_SCALES = (
    "{} dozen", "{} hundred", "{} thousand", "{} million", "{} billion", "{} pairs", "{} halves", "{} tenths", "{} hundredths",
    r"{}\text{ million}", r"{} \text{ dozen}", r"{}\text{ thousand dollars}", "{} score", "{} lakh", "{} and a half",
)  # fmt: skip
_DONE_TO_IT = (
    "{} squared", "{} cubed", "{} factorial", "half of {}", "twice {}", "minus {}", "negative {}", "the square root of {}",
    "one third of {}",
    "the reciprocal of {}", "{} plus 1", "{} minus 1", "double {}", "{} to the fourth power", "{} over 2", "{} divided by 2", "{} times 2",
    "the opposite of {}", r"\text{twice }{}", r"\text{half of }{}",
    "one less than {}", "1 more than {}", "{} and 1", "the absolute value of -{}i",
)  # fmt: skip
_BOUNDS = (
    "more than {}", "less than {}", "at least {}", "at most {}", "up to {}", "{} or more", "{} or less", "over {}", "under {}", "below {}",
    "above {}", "between {} and 7919", "from {} to 7919", "about {} or {+}", "about {} to {+}", "{} or {+}", "{} and {+}", "{} to {+}",
    "nearly {} or {+}", "approximately {} - {+}", "no more than {}", "fewer than {}", "almost {}", "just under {}",
)  # fmt: skip
_CHINESE = tuple(
    "不是{} {}万 负{} 大约{}或{+} 小于{} 至少{} 不超过{} {}亿 {}的一半 {}分之一 可能是{} {}或{+} {}多 除了{}".split()
)
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_RANKS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip


def dressed(gold: str, rng: random.Random) -> str:
    """A gold answer that is a plain number, with a unit, a currency or a noun. Any other as it is."""
    if not _NUMBER.fullmatch(gold):
        return gold
    words = rng.choice((_CURRENCY_WORDS, _UNIT_WORDS, _NOUNS))
    word = rng.choice(words)
    return rng.choice(
        (f"{gold} {word}", rf"{gold}\text{{ {word}}}", f"{rng.choice(list(_CURRENCIES))}{gold.lstrip('-')}")
    )


def denied(gold: str, rng: random.Random) -> str | None:
    """5 -> not 5."""
    return None if _EMPTY.search(gold) else _put(rng.choice(_DENIALS), gold)


def doubted(gold: str, rng: random.Random) -> str | None:
    """5 -> maybe 5, 5 or 7919."""
    return _put(rng.choice(_DOUBTS), gold)


def no_solution(gold: str, rng: random.Random) -> str | None:
    """5 -> no solution."""
    others = (
        "no solution",
        r"\text{No solution}",
        r"\emptyset",
        "does not exist",
        "undefined",
        "none",
        "无解",
        "infinitely many",
    )
    return None if _EMPTY.search(gold) or "nfinit" in gold else rng.choice(others)


def scaled(gold: str, rng: random.Random) -> str | None:
    """5 -> 5 dozen."""
    return _put(rng.choice(_SCALES), gold) if _is_count(gold) else None


def done_to_it(gold: str, rng: random.Random) -> str | None:
    """5 -> 5 squared, half of 5."""
    return _put(rng.choice(_DONE_TO_IT), gold) if _is_count(gold) else None


def bounded(gold: str, rng: random.Random) -> str | None:
    """5 -> at least 5, about 5 or 6."""
    return _put(rng.choice(_BOUNDS), gold) if _is_count(gold) else None


def in_chinese(gold: str, rng: random.Random) -> str | None:
    """5 -> 不是5, 5万."""
    return _put(rng.choice(_CHINESE), gold) if _is_count(gold) else None


def other_number_word(gold: str, rng: random.Random) -> str | None:
    """5 -> six, a fifth, five halves, the sixth."""
    if not _is_count(gold) or int(gold) > 97:
        return None
    n = int(gold)
    forms = (
        in_words(n + 1), rank(n + 1), f"one {rank(n)}", f"two {rank(n)}s", f"{in_words(n)} halves", f"negative {in_words(n)}",
        f"the {rank(n + 1)}", f"{in_words(n)} hundred", f"not {in_words(n)}", f"{in_words(n)} dozen", f"{in_words(n)} and a half",
        f"{rank(n)} root", f"the {rank(n)} of May", f"{in_words(n)} or {in_words(n + 1)}",
    )  # fmt: skip
    return rng.choice(forms)


def other_case(gold: str, rng: random.Random) -> str | None:
    """2x + y -> 2X + y. Not where a letter may be bound or name a constant."""
    if gold.startswith("(") or _NO_VARIABLES.search(
        re.sub(r"\\[a-zA-Z]+", lambda m: m[0] if _NO_VARIABLES.match(m[0]) else "", gold)
    ):
        return None
    letters = [
        m for m in _LETTER.finditer(gold) if len(m[0]) == 1 and m[0] not in "eiEIcCkK" and m[0].swapcase() not in gold
    ]
    if not letters or not re.search(r"[\d+*/^=-]|\\", gold):
        return None
    letter = rng.choice(letters)
    return gold[: letter.start()] + letter[0].swapcase() + gold[letter.end() :]


def other_currency(gold: str, rng: random.Random) -> str | None:
    r"""\$5 -> €5, 5 cents."""
    sign = next((sign for sign in _CURRENCIES if gold.startswith(sign)), None)
    number = gold.removeprefix(sign or "").strip()
    if sign is None or not _NUMBER.fullmatch(number):
        return None
    others = [f"{other}{number}" for other in _CURRENCIES if other != sign]
    return rng.choice([*others, *(f"{number} {word}" for word in _CURRENCY_WORDS if word != _CURRENCIES[sign])])


def other_unit_word(gold: str, rng: random.Random) -> str | None:
    """5 hours -> 5 minutes; 5 apples -> 5 books; 5 dollars -> 5 cents."""
    amount = _AMOUNT.fullmatch(gold)
    if amount is None or float(amount[1]) == 0:
        return None
    words = next((words for words in (_CURRENCY_WORDS, _UNIT_WORDS, _NOUNS) if amount[2] in words), None)
    return gold.replace(amount[2], rng.choice([word for word in words if word != amount[2]])) if words else None


def _put(template: str, gold: str) -> str:
    """{} is the gold answer, {+} the number after it."""
    following = str(int(gold) + 1) if _is_count(gold) else ""
    return template.replace("{}", gold).replace("{+}", following)


def _is_count(gold: str) -> bool:
    """3 and more: 2 factorial is 2, and 1 squared 1."""
    return bool(re.fullmatch(r"[1-9]\d{0,8}", gold)) and int(gold) > 2


def in_words(n: int) -> str:
    """Up to 99."""
    if n < 20:
        return _ONES[n]
    tens, ones = divmod(n, 10)
    return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")


def rank(n: int) -> str:
    """twenty-first of 21."""
    head, dash, last = in_words(n).rpartition("-")
    return head + dash + (_RANKS.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"))


WORD_CHANGES: tuple[Edit, ...] = (
    denied, doubted, no_solution, scaled, done_to_it, bounded, in_chinese, other_number_word, other_case, other_currency, other_unit_word,
)  # fmt: skip
