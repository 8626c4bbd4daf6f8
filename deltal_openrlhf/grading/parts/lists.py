"""Lists, sets, tuples, intervals and matrices, compared part by part."""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

from deltal_openrlhf.grading.leaves import Same, all_of
from deltal_openrlhf.grading.parts.structure import OR, Group, compact, equations, group, split, union
from deltal_openrlhf.grading.values.number import number

_UNORDERED = re.compile(rf"^\\?\{{|=|{OR}")
"""In a list that says that it has no order: a set, x = 1, 2, and 1 or 2."""
_MOST_EACH_WITH_EACH = 16
"""Elements of which each is compared with each. More are compared in the order of their values, so that the time stays linear."""


def same_lists(
    gold: str, pred: str, gold_list: list[str] | None, pred_list: list[str] | None, same: Same
) -> bool | None:
    """Lists in any order; a list without brackets against a tuple in order."""
    golds, preds = gold_list or union(gold), pred_list or union(pred)
    if _has_equations(golds) != _has_equations(preds):
        golds, preds = equations(gold), equations(pred)  # y = \pm 2x and 2x \pm y = 0
        # x + y = 3, x - y = 1 does not say what x and y are
        return same_in_any_order(golds, preds, same) if golds and preds else False
    tuples = [
        Group("()", found) if found and not _UNORDERED.search(text) else group(text)
        for text, found in ((gold, gold_list), (pred, pred_list))
    ]
    if not (gold_list and pred_list) and tuples[0] and tuples[1]:
        return same_groups(tuples[0], tuples[1], same)
    return same_in_any_order(golds, preds, same)


def _has_equations(elements: Sequence[str]) -> bool:
    return any("=" in element and len(split(element, "=")) > 1 for element in elements)


def same_in_any_order(gold: Sequence[str], pred: Sequence[str], same: Same) -> bool | None:
    """Whether each element of one is an element of the other, as often. Elements of the same text are taken out first."""
    if len(gold) != len(pred):
        return False
    texts = Counter(map(compact, gold)), Counter(map(compact, pred))
    both = texts[0] & texts[1]
    gold, left = _without(gold, both.copy()), _without(pred, both.copy())
    if len(left) > _MOST_EACH_WITH_EACH:
        return all_of(map(same, sorted(gold, key=_order), sorted(left, key=_order)))
    verdict = lru_cache(None)(lambda row, column: same(gold[row], left[column]))
    if _can_be_paired(len(left), lambda row, column: verdict(row, column) is True):
        return True
    return None if _can_be_paired(len(left), lambda row, column: verdict(row, column) is not False) else False


def _can_be_paired(size: int, fit: Callable[[int, int], bool]) -> bool:
    """Whether each row finds a column of its own that fits it, by augmenting paths: 5, 50 mm are 5 cm, 5 m in one way only."""
    row_of: dict[int, int] = {}

    def place(row: int, tried: set[int]) -> bool:
        for column in range(size):
            if column not in tried and fit(row, column):
                tried.add(column)
                if column not in row_of or place(row_of[column], tried):
                    row_of[column] = row
                    return True
        return False

    return all(place(row, set()) for row in range(size))


def _without(elements: Sequence[str], taken: Counter[str]) -> list[str]:
    left = []
    for element in elements:
        key = compact(element)
        if taken[key] > 0:
            taken[key] -= 1
        else:
            left.append(element)
    return left


def _order(element: str) -> tuple[float, str]:
    value = number(element)
    try:
        return (math.inf if value is None else float(value)), compact(element)
    except OverflowError:
        return math.inf, compact(element)


def same_groups(gold: Group, pred: Group, same: Same) -> bool | None:
    if gold.kind != pred.kind or len(gold.parts) != len(pred.parts):
        return False
    return all_of(map(same, gold.parts, pred.parts))
