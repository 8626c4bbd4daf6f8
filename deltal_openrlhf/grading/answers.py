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

from deltal_openrlhf.grading.choices import choice, same_choice, same_letters, text_of_choice
from deltal_openrlhf.grading.leaves import Same, all_of
from deltal_openrlhf.grading.normalize import normalize
from deltal_openrlhf.grading.parts import same_groups, same_in_any_order, same_lists
from deltal_openrlhf.grading.quantities import same_quantities
from deltal_openrlhf.grading.relations import Relation, interval, is_name, relation, same_relation, solved
from deltal_openrlhf.grading.structure import elements, group, split
from deltal_openrlhf.grading.words import same_text

_MEMBER = re.compile(r"^[a-zA-Z]\s*\\in(?![a-z])\s*")  # x \in [0, 1] is [0, 1]
_APPROXIMATION = re.compile(r"\s*\(\s*\\approx[^()]*\)\s*$")
_OTHER_RELATIONS = re.compile(r"\\(?:in|equiv|approx|sim|mid|parallel|perp)(?![a-z])")


def same_answer(gold: str, pred: str, leaf: Same) -> bool | None:
    """Whether `pred` answers as `gold` does; None where `leaf` could not tell."""

    def same(gold: str, pred: str) -> bool | None:
        if not gold or not pred:
            return False
        if gold.isdecimal() and pred.isdecimal():
            return int(gold) == int(pred)
        if same_text(gold, pred) or same_letters(gold, pred):
            return True
        chosen = choice(gold)
        if chosen:
            return same_choice(*chosen, pred, same)
        labelled = text_of_choice(pred)
        if labelled and same(gold, labelled):
            return True
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
            return same_lists(gold, pred, *lists, same)
        unions = split(gold, r"\cup"), split(pred, r"\cup")
        if len(unions[0]) > 1 or len(unions[1]) > 1:
            return same_in_any_order(*unions, same)
        for parts in (group, matrix):
            groups = parts(gold), parts(pred)
            if groups[0] and groups[1]:
                return same_groups(groups[0], groups[1], same)
            if any(groups):
                return False
        ratios = split(gold, ":"), split(pred, ":")
        if max(map(len, ratios)) > 1:
            if len(ratios[0]) == len(ratios[1]):
                return all_of(map(same, *ratios))
            gold, pred = (f"({ratio[0]})/({ratio[1]})" if len(ratio) == 2 else ratio[0] for ratio in ratios)
        if bool(_OTHER_RELATIONS.search(gold)) != bool(_OTHER_RELATIONS.search(pred)):
            return False
        return same_quantities(gold, pred, leaf)

    return same(normalize(gold), normalize(pred))


def _same_relations(
    gold: str, pred: str, gold_relation: Relation | None, pred_relation: Relation | None, same: Same
) -> bool | None:
    if gold_relation and pred_relation:
        return same_relation(gold_relation, pred_relation, same)
    if gold_relation is None:
        assert pred_relation is not None
        if pred_relation.is_equation:
            value = solved(pred_relation, same)
            return value is not None and same(gold, value)
        values, other = interval(pred_relation), group(gold)
        return same_groups(other, values[1], same) if values and other else False
    if gold_relation.is_equation:  # x = 4, 25 + 2 = 27; of other equations only an equation is right
        value = solved(gold_relation, same)
        return value is not None and same(value, pred)
    values, other = interval(gold_relation), group(pred)
    return same_groups(values[1], other, same) if values and other else False
