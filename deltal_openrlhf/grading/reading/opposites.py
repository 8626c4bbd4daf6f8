"""Words of which one excludes the other: 5 m to the left is not 5 m to the right, whatever else of the two sentences is read or not."""

import re

from deltal_openrlhf.grading.reading.chinese import count_different_things
from deltal_openrlhf.grading.reading.numerals import in_digits
from deltal_openrlhf.grading.reading.sentences import without_lead

_GROUPS = r"""
left/leftward/leftwards right/rightward/rightwards up/upward/upwards down/downward/downwards forward/forwards backward/backwards
  north/northward/northwards/northern south/southward/southwards/southern east/eastward/eastwards/eastern
  west/westward/westwards/western northeast northwest southeast southwest clockwise counterclockwise/anticlockwise;
increase/increases/increased/increasing/rise/rises/rose/risen/rising/gain/gains/gained/growth/grew/grows/raised
  decrease/decreases/decreased/decreasing/fall/falls/fell/fallen/loss/losses/lost/loses/drop/drops/dropped/decline/declined/reduction/reduced;
profit/profits/gain/gains loss/losses; discount markup; dollars/dollar/\$/us\$ euros/euro/€ £ rupees/rupee/₹
  hk\$ nt\$ ca\$ au\$ nz\$ sg\$ ¥/yen/yuan ₩ ₽ ₱ ฿ ₺ ₫ ₴ ₪;
surplus deficit; credit debit; deposit withdrawal; buy/bought sell/sold;
saved spent; higher lower; above below; over under; inside outside; inward/inwards outward/outwards; toward/towards away; ahead behind;
before after; earlier later; early late; ago hence; am/a.m pm/p.m; morning afternoon evening; noon midnight; first last; old new;
more less/fewer; most least; faster slower; older younger; taller shorter; longer shorter; larger/bigger/greater smaller;
largest/biggest/greatest/longest/highest smallest/shortest/lowest; maximum/max/maximal minimum/min/minimal; hot cold;
remaining/left total/altogether/overall old tall/high wide deep long away/apart; mean median mode; numerator denominator;
positive negative; even odd; true false; yes no; reject fail; heads tails; all none; always never sometimes; with without;
win/wins/won lose/loses/lost; male/males female/females; boy/boys girl/girls; man/men woman/women; red blue green yellow white black;
open closed; inclusive exclusive; concave convex; rational irrational; real imaginary; prime composite; dependent independent;
acute obtuse; horizontal/horizontally vertical/vertically; parallel perpendicular; row column; rows columns; ascending descending;
finite/finitely infinite/infinitely; converges/convergent diverges/divergent
"""
"""Words that exclude each other, a group up to each semicolon, with / between spellings of one."""
_MEANINGS: dict[str, list[tuple[int, int]]] = {}
"""Word -> (its group, what it says there)."""
for _number, _group in enumerate(_GROUPS.split(";")):
    for _saying, _spellings in enumerate(_group.split()):
        for _spelling in _spellings.split("/"):
            _MEANINGS.setdefault(_spelling, []).append((_number, _saying))
_RANK = re.compile(
    r"(?:the )?(?:\\text\s?\{\s?)?(?:\d{1,9}[ -]?\^?\{?\s?(?:\\text\s?\{\s?)?(?:st|nd|rd|th)"
    r"|(?:[a-z]{3,7}[ -])?(?:first|second|third|[a-z]{3,8}th))\s?\}{0,2}",
    re.IGNORECASE,
)
_RANK_END = re.compile(r"(?:st|nd|rd|th)[\s}]*$", re.IGNORECASE)
_AMOUNT = re.compile(
    r"-?\d[\d.,]*\$? ?(?:(?:\\text|\\mathrm)\s?\{\s?)?(?!(?:st|nd|rd|th)(?![a-z])|\^)[a-z]{1,20}(?![a-z])",
    re.IGNORECASE,
)
_WORD = re.compile(
    r"(?<![\\a-z])(?<!no )(?<!not )(?:(?:us|hk|nt|ca|au|nz|sg) ?\\\$|[ap]\.\s?m(?![a-z])|[a-z]{2,}|\\\$|[€£¥￥₹₩₽₱฿₺₫₴₪])"
)  # no less is not less


def are_opposed(gold: str, pred: str) -> bool:
    """Whether one text says of something what excludes all that the other says of it: left and right, increase and decrease. So are a
    rank and an amount, second and 2 seconds, and Chinese amounts of two things."""
    if not (gold.isascii() or pred.isascii()) and count_different_things(gold, pred):
        return True
    if _is_rank(gold) and _is_amount(pred) or _is_rank(pred) and _is_amount(gold):
        return True
    said = _said(gold)
    if not said:
        return False
    other = _said(pred)
    return any(group in other and not sayings & other[group] for group, sayings in said.items())


def _is_rank(text: str) -> bool:
    """The third, 3rd; not two thirds."""
    text = text.strip(" .$")
    if not _RANK_END.search(text[-5:]):
        return False
    return bool(_RANK.fullmatch(without_lead(text).strip(" .$")))


def _is_amount(text: str) -> bool:
    """3 apples, two seconds."""
    text = text.strip(" .$")
    if not text[-1:].isalpha() and text[-1:] != "}":
        return False
    return bool(_AMOUNT.match(in_digits(without_lead(text).strip(" .$"))))


def _said(text: str) -> dict[int, set[int]]:
    said: dict[int, set[int]] = {}
    for word in _WORD.findall(text.lower()):
        for group, saying in _MEANINGS.get(word.replace(" ", "").replace("￥", "¥"), ()):
            said.setdefault(group, set()).add(saying)
    return said
