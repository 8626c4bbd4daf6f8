"""Lists, sets, tuples, intervals and matrices, compared part by part."""

from collections.abc import Sequence

from deltal_openrlhf.grading.leaves import Same, all_of
from deltal_openrlhf.grading.relations import relation
from deltal_openrlhf.grading.structure import Group, group, split


def same_lists(
    gold: str, pred: str, gold_list: list[str] | None, pred_list: list[str] | None, same: Same
) -> bool | None:
    gold_tuple, pred_tuple = group(gold), group(pred)
    if gold_list and pred_tuple and pred_tuple.kind == "()":  # one side without its brackets
        return same_groups(Group("()", gold_list), pred_tuple, same)
    if pred_list and gold_tuple and gold_tuple.kind == "()":
        return same_groups(gold_tuple, Group("()", pred_list), same)
    if gold_list and pred_list and len(gold_list) == len(pred_list) and "=" in gold and "=" not in pred:
        named = [relation(element) for element in gold_list]
        if all(named):  # a = 1, b = 2 without the names: in this order
            return all_of(map(same, gold_list, pred_list))
    gold_list = gold_list or split(gold, r"\cup")
    return same_in_any_order(gold_list, pred_list or split(pred, r"\cup"), same)


def same_in_any_order(gold: Sequence[str], pred: Sequence[str], same: Same) -> bool | None:
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


def same_groups(gold: Group, pred: Group, same: Same) -> bool | None:
    if gold.kind != pred.kind or len(gold.parts) != len(pred.parts):
        return False
    return all_of(map(same, gold.parts, pred.parts))
