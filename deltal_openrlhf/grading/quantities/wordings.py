"""What may be said in words or in signs: bounds, changes, named values, formulas of chemistry."""

from deltal_openrlhf.grading.leaves import Same
from deltal_openrlhf.grading.quantities.bounds import same_bound
from deltal_openrlhf.grading.quantities.changes import same_change
from deltal_openrlhf.grading.quantities.formulas import same_formula
from deltal_openrlhf.grading.quantities.named import same_named


def same_wording(gold: str, pred: str, same: Same) -> bool | None:
    """Whether two answers of these kinds say the same; None where one of them is of none."""
    if gold.isascii() and not any(map(str.isalpha, gold)) and not any(map(str.isalpha, pred)):
        return None
    if same_formula(gold, pred):
        return True
    for kind in (same_bound, same_change, same_named):
        verdict = kind(gold, pred, same)
        if verdict is not None:
            return verdict
    return None
