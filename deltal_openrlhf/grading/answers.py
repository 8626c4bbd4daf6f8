r"""When two answers are the same: their structure here, single expressions by a `leaf` comparison that the caller gives.

The conventions, where graders differ:

- A list or set is compared in any order, a tuple in order, also where one side leaves its brackets out; (1, 2) and [1, 2] differ, and
  {1, 2} is the list 1, 2.
- "x = 4" is 4, if the other side names no variable; "x = 4" and "y = 4" differ. x < 3 is (-\infty, 3).
- A unit, or the base of a number, that one side leaves out does not matter; two different ones do. A percent sign may be left out:
  50 % is 50 and 1/2.
- 1:2 is 1/2, and is not 2:4.
- Text is compared without case. "(B)", "B." and "(B) 7" are the choice B if the gold answer is a letter.
- A decimal is a number that has no finite decimal if it has six places or more and is that number rounded or cut off.
"""

import re
from collections.abc import Callable, Sequence

from deltal_openrlhf.grading.normalize import normalize, unwrap_command
from deltal_openrlhf.grading.quantities import without_percent, without_unit
from deltal_openrlhf.grading.relations import Relation, all_of, interval, is_name, relation, same_relation, solved
from deltal_openrlhf.grading.structure import Group, elements, group, matrix, split

Leaf = Callable[[str, str], bool | None]
"""Whether two single expressions, normalised, are equal; None where it cannot tell."""

_CHOICE = re.compile(r"\(([A-J])\)\s*(.*)|([A-H])", re.DOTALL)
_CHOSEN = re.compile(r"\(?([A-Za-z])\)?[.:]?|\(([A-Za-z])\)(.*)|([A-Za-z])[).:]\s(.*)", re.DOTALL)
_TEXT_LETTER = re.compile(r"^\\text\{\s*\(?([A-Ja-j])\)?\s*\}")
_OPTION = re.compile(r"^(?:option|choice|answer)\s*:?\s*", re.IGNORECASE)
_ANOTHER = re.compile(r"^(?:,|and\b|or\b|/)|\([A-Ja-j]\)|^[A-J](?:[.:),\s]|$)")
_MEMBER = re.compile(r"^[a-zA-Z]\s*\\in(?![a-z])\s*")  # x \in [0, 1] is [0, 1]
_WORDS = re.compile(r"[A-Za-z][A-Za-z' -]+")
# Words, and not xyz, which may be a product, or sin x.
_PHRASE = re.compile(
    r"(?!.*\b(?:sin|cos|tan|log|ln|sqrt|pi|exp)\b)(?:[A-Z][a-z' -]+|[A-Za-z]{4,}|[A-Za-z']+(?:[ -][A-Za-z']+)+\??|\?)"
)
_LONG_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{4,}")
_MATH_WORDS = {"sqrt", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan", "infty", "frac"}
_APPROXIMATION = re.compile(r"\s*\(\s*\\approx[^()]*\)\s*$")
_OTHER_RELATIONS = re.compile(r"\\(?:in|equiv|approx|sim|mid|parallel|perp)(?![a-z])")


def same_answer(gold: str, pred: str, leaf: Leaf) -> bool | None:
    """Whether `pred` answers as `gold` does; None where `leaf` could not tell."""

    def same(gold: str, pred: str) -> bool | None:
        if not gold or not pred:
            return False
        if gold.isdecimal() and pred.isdecimal():
            return int(gold) == int(pred)
        if _plain(gold) == _plain(pred):
            return True
        choice = _CHOICE.fullmatch(_TEXT_LETTER.sub(r"(\1)", unwrap_command(gold, r"\text")))
        if choice and not _ANOTHER.search(choice[2] or ""):
            return _same_choice(choice[1] or choice[3], choice[2], pred, same)
        gold, pred = _MEMBER.sub("", gold), _MEMBER.sub("", pred)
        if r"\approx" in pred and r"\approx" not in gold:  # \sqrt{2} \approx 1.41
            pred = _APPROXIMATION.sub("", pred)
            sides = split(pred, r"\approx")
            if len(sides) > 1:
                return same(gold, sides[1] if is_name(sides[0]) else sides[0])
        relations = relation(gold), relation(pred)
        if any(relations):
            return _same_relations(gold, pred, *relations, same)
        lists = elements(gold), elements(pred)
        if any(lists):
            return _same_lists(gold, pred, *lists, same)
        unions = split(gold, r"\cup"), split(pred, r"\cup")
        if len(unions[0]) > 1 or len(unions[1]) > 1:
            return _same_in_any_order(*unions, same)
        for parts in (group, matrix):
            groups = parts(gold), parts(pred)
            if groups[0] and groups[1]:
                return _same_groups(groups[0], groups[1], same)
            if any(groups):
                return False
        ratios = split(gold, ":"), split(pred, ":")
        if max(map(len, ratios)) > 1:
            if len(ratios[0]) == len(ratios[1]):
                return all_of(map(same, *ratios))
            gold, pred = (f"({ratio[0]})/({ratio[1]})" if len(ratio) == 2 else ratio[0] for ratio in ratios)
        if bool(_OTHER_RELATIONS.search(gold)) != bool(_OTHER_RELATIONS.search(pred)):
            return False
        return _same_quantities(gold, pred, leaf)

    return same(normalize(gold), normalize(pred))


def _plain(text: str) -> str:
    r"""For comparing text: without spaces and \text{}, and where it is words, without case."""
    words = unwrap_command(text, r"\text")
    if _WORDS.fullmatch(words):
        return re.sub(r"[\s-]+", "", words).casefold()
    # Two numbers stay two numbers.
    return re.sub(
        r"(?<!\d)\s+|\s+(?!\d)|(?<=[_^])\{(?=[\da-zA-Z]\})|(?<=[_^]\{[\da-zA-Z])\}", "", text.replace(r"\text", "")
    )


def _same_choice(letter: str, text: str | None, pred: str, same: Leaf) -> bool | None:
    """The gold answer is a letter, with or without the text of that choice; so may the other one be: "B", "(b)", "B.", "(B) 7"."""
    pred = _TEXT_LETTER.sub(r"(\1)", _OPTION.sub("", unwrap_command(pred, r"\text")))
    chosen = _CHOSEN.fullmatch(pred)
    if chosen is None:
        return same(text, pred) if text else False
    if (chosen[1] or chosen[2] or chosen[4]).upper() != letter:
        return False
    said = (chosen[3] or chosen[5] or "").strip()
    if _ANOTHER.search(said):
        return False
    return same(text, said) if text and said else True


def _same_relations(
    gold: str, pred: str, gold_relation: Relation | None, pred_relation: Relation | None, same: Leaf
) -> bool | None:
    if gold_relation and pred_relation:
        return same_relation(gold_relation, pred_relation, same)
    if gold_relation is None:
        assert pred_relation is not None
        if pred_relation.is_equation:
            value = solved(pred_relation, same)
            return value is not None and same(gold, value)
        values, other = interval(pred_relation), group(gold)
        return _same_groups(other, values[1], same) if values and other else False
    if gold_relation.is_equation:  # x = 4, 25 + 2 = 27; of other equations only an equation is right
        value = solved(gold_relation, same)
        return value is not None and same(value, pred)
    values, other = interval(gold_relation), group(pred)
    return _same_groups(values[1], other, same) if values and other else False


def _same_lists(
    gold: str, pred: str, gold_list: list[str] | None, pred_list: list[str] | None, same: Leaf
) -> bool | None:
    gold_tuple, pred_tuple = group(gold), group(pred)
    if gold_list and pred_tuple and pred_tuple.kind == "()":  # one side without its brackets
        return _same_groups(Group("()", gold_list), pred_tuple, same)
    if pred_list and gold_tuple and gold_tuple.kind == "()":
        return _same_groups(gold_tuple, Group("()", pred_list), same)
    if gold_list and pred_list and len(gold_list) == len(pred_list) and "=" in gold and "=" not in pred:
        named = [relation(element) for element in gold_list]
        if all(named):  # a = 1, b = 2 without the names: in this order
            return all_of(map(same, gold_list, pred_list))
    gold_list = gold_list or split(gold, r"\cup")
    return _same_in_any_order(gold_list, pred_list or split(pred, r"\cup"), same)


def _same_in_any_order(gold: Sequence[str], pred: Sequence[str], same: Leaf) -> bool | None:
    """Every element is looked for among those not yet taken."""
    if len(gold) != len(pred):
        return False
    left = list(pred)
    undecided = False
    for element in gold:
        for position, candidate in enumerate(left):
            verdict = same(element, candidate)
            if verdict:
                del left[position]
                break
            undecided = undecided or verdict is None
        else:
            return None if undecided else False
    return True


def _same_groups(gold: Group, pred: Group, same: Leaf) -> bool | None:
    if gold.kind != pred.kind or len(gold.parts) != len(pred.parts):
        return False
    return all_of(map(same, gold.parts, pred.parts))


def _same_quantities(gold: str, pred: str, leaf: Leaf) -> bool | None:
    """Words, or a number or expression, perhaps with a unit or a percent sign."""
    if all(text.startswith(r"\text{") and not re.search(r"[\d=+*/^-]", text) for text in (gold, pred)):
        return False  # not the same text
    if (r"\ldots" in gold) != (r"\ldots" in pred):
        return False
    gold, pred = unwrap_command(gold, r"\text"), unwrap_command(pred, r"\text")
    if _PHRASE.fullmatch(gold) or _PHRASE.fullmatch(pred):
        return False  # not the same words, or words and an expression
    gold, gold_percent = without_percent(gold)
    pred, pred_percent = without_percent(pred)
    gold, gold_unit = without_unit(gold)
    pred, pred_unit = without_unit(pred)
    if gold_unit and pred_unit and gold_unit != pred_unit:
        return False
    if any(word not in gold and word not in _MATH_WORDS for word in _LONG_WORD.findall(pred)):
        return False  # 10+John's age
    verdict = leaf(gold, pred)
    if not verdict and gold_percent != pred_percent:
        return leaf(gold, f"({pred})/100") if pred_percent else leaf(f"({gold})/100", pred)
    return verdict
