"""Tables of a gold answer and another one, and what the cheap path says of them, both ways round."""

import time

from deltal_openrlhf.grading.answers import same_answer
from deltal_openrlhf.grading.values.equality import same_value


def pairs(table: str) -> list[tuple[str, str]]:
    """One pair a row, "gold | other"; a row that starts with "# " is a heading."""
    rows = [row for row in table.strip().splitlines() if not row.startswith("# ")]
    return [tuple(row.rsplit(" | ", 1)) for row in rows]  # type: ignore[misc]


def both_ways(gold: str, pred: str) -> list[bool | None]:
    return [same_answer(gold, pred, same_value), same_answer(pred, gold, same_value)]


def seconds_against(text: str, others: list[str]) -> float:
    """What comparing a hostile text with each of the others takes, both ways round."""
    start = time.process_time()
    for other in others:
        for pair in ((text, other), (other, text)):
            try:
                same_answer(*pair, same_value)
            except RecursionError:  # the grader takes it as undecided
                continue
    return time.process_time() - start
