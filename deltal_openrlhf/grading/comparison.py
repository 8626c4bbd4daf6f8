"""What a grading process does with math: it compares an answer with its golds. worker.py calls warm_up and grade."""

from deltal_openrlhf.grading.answers import CANNOT_TELL, same_answer
from deltal_openrlhf.grading.values.equality import same_value


def warm_up() -> None:
    """Import the parsers and use them once."""
    from deltal_openrlhf.grading.values import symbolic

    symbolic.warm_up()


def grade(golds: list[str], pred: str) -> str:
    """ "equal" if one of the golds is, else "different"; "unparsable" where text was all that could be compared."""
    from deltal_openrlhf.grading.values.symbolic import Unparsable, same_expression

    def leaf(gold: str, candidate: str) -> bool | None:
        verdict = same_value(gold, candidate)
        return same_expression(gold, candidate) if verdict is None else verdict

    unparsable = 0
    for gold in golds:
        try:
            if same_answer(gold, pred, leaf):
                return "equal"
        except (Unparsable, *CANNOT_TELL):
            unparsable += 1
    return "unparsable" if unparsable == len(golds) else "different"
