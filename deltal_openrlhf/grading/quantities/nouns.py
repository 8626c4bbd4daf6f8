"""Words behind a number that leave its value as it is: nouns that are counted, and what says only that they are.

A noun is a plural in small letters ("42 combinations"), or one of a few in the singular. Words that make another number of the one
before them ("3 pairs", "5 tens", "2 thirds") or that turn it round ("5 wrong", "5 less", "5 each") are none: where a word is not
known to be harmless, it is not.
"""

import re

_IRREGULAR = {
    "people": "person", "men": "man", "women": "woman", "children": "child", "mice": "mouse", "geese": "goose", "teeth": "tooth",
    "oxen": "ox", "fish": "fish", "sheep": "sheep", "deer": "deer", "cattle": "cattle", "dice": "die", "indices": "index",
    "vertices": "vertex", "matrices": "matrix", "radii": "radius", "loaves": "loaf", "leaves": "leaf", "knives": "knife",
    "lives": "life", "buses": "bus", "boxes": "box", "classes": "class", "glasses": "glass", "dishes": "dish", "matches": "match",
}  # fmt: skip
_IRREGULAR_ENDINGS = ("fish", "children", "people", "men")
_SINGULAR = frozenset(
    "way person man woman child boy girl student page apple book point solution team game day marble card ticket coin item piece number "
    "integer digit combination arrangement permutation triangle vertex edge face side root time step move ball car dog cat bird tree "
    "flower egg cookie orange question problem member player worker teacher box bag bottle gallon row column term value cup "
    "slice pack".split()
)
_NO_NOUN = frozenset(
    # other numbers
    "pairs couples dozens scores hundreds thousands millions billions trillions grands lakhs crores twins triplets halves thirds quarters "
    "fourths fifths sixths sevenths eighths ninths tenths elevenths twelfths hundredths thousandths ones twos threes "
    "fours fives sixes sevens eights nines tens elevens twelves bases powers percents multiples doubles triples decades "
    "duos trios quartets quintets sextets septets octets nonets duets trebles quadruples myriads grosses bakers braces reams singles "
    "factorials exponents percentages orders magnitudes folds hundredfolds complements conjugates negations logarithms fractions ratios "
    "dozenths hundredweights sines cosines tangents derivatives integrals proportions "
    # other words in s
    "minus plus less others is was has does goes as this us yes its his hers ours theirs always sometimes perhaps besides "
    "sideways versus unless regardless nevertheless equals exceeds divides gives makes "
    "remains becomes means shows sums cos modulus minuses pluses negatives opposites inverses reciprocals logs squares cubes".split()
)
_NO_ENDING = re.compile(
    r"(?:ss|us|is|teenths|tieths|illi(?:on|ard)s?(?:ths)?|illionths|tupl(?:e|et)s|googol\w{0,5}s|wards)$"
)
_BEFORE = frozenset(
    "different distinct possible total unique separate individual valid such whole full complete".split()
)
_ADJECTIVES = frozenset(
    "real complex rational natural positive nonnegative integer prime odd even ordered red blue green yellow white black brown pink purple "
    "small large big new".split()
)
"""Harmless where the other side has no noun; two nouns are compared with them."""
_AFTER = frozenset("old total altogether long tall high wide deep away apart overall left remaining".split())
_PHRASES_AFTER = re.compile(r" (?:in (?:all|total)|of [a-z]{3,20})$")
_PURPOSE = re.compile(
    r"((?:[a-z]+ ){0,3}(?:ways?|methods?|possibilit(?:y|ies)|combinations?|arrangements?|permutations?"
    r"|choices|outcomes|solutions?|routes|paths))"
    r" (?:to|of|for|that|in which) ([a-z /]{2,70})"
)
_NUMBER_WORDS = frozenset(
    "two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty sixty seventy eighty ninety hundred thousand "
    "million billion dozen half third quarter them these those which each every".split()
)

_QUALIFIERS = _NUMBER_WORDS - {"them", "these", "those"} | frozenset(
    "without with except if when unless otherwise or nor not but and per more less fewer least most than exactly only twice".split()
)
"""Words behind a noun that may change how many there are."""


def without_harmless(words: str) -> str:
    """The words without what may stand around a noun or a unit: different ways, years old, dollars in total, cups of flour."""
    if " " not in words:
        return words
    purpose = _PURPOSE.fullmatch(words)
    if purpose and not _QUALIFIERS.intersection(purpose[2].replace("/", " ").split()):
        words = purpose[1]
    phrase = _PHRASES_AFTER.search(words)
    if phrase and phrase[0].split()[-1] not in _NUMBER_WORDS:
        words = words[: phrase.start()]
    parts = words.split(" ")
    while len(parts) > 1 and parts[0] in _BEFORE:
        del parts[0]
    while len(parts) > 1 and parts[-1] in _AFTER:
        del parts[-1]
    adjectives = len(parts) - 1 if all(part in _ADJECTIVES for part in parts[:-1]) else 0
    return "_".join(parts) if adjectives else " ".join(parts)


def counted(word: str) -> str | None:
    """The singular of a noun that a number may count, with its adjectives; None for any other word."""
    adjectives, joint, word = word.rpartition("_")
    singular = _singular(word)
    return adjectives + joint + singular if singular else None


def _singular(word: str) -> str | None:
    if not 3 <= len(word) <= 20 or not word.isascii() or not word.isalpha() or not word[1:].islower():
        return None
    word = word.lower()
    if word in _SINGULAR:
        return word
    if word in _IRREGULAR or word.endswith(_IRREGULAR_ENDINGS):
        return _IRREGULAR.get(word, word)
    if not word.endswith("s") or word in _NO_NOUN or _NO_ENDING.search(word):
        return None
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-1]


def divides(word: str) -> str | None:
    """The word behind "per", where it may be one thing of many: per ticket. Not per dozen."""
    singular = word[:-1] if word.endswith("s") else word
    if counted(word) is None and (
        not 3 <= len(word) <= 20 or not (word.isascii() and word.isalpha() and word.islower())
    ):
        return None
    return None if {word, singular, singular + "s"} & (_NO_NOUN | _NUMBER_WORDS) else singular
