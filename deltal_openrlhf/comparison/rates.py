"""The learning rate of a family: the one whose trial runs score best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltal_openrlhf.comparison.curves import estimate, measures
from deltal_openrlhf.comparison.grid import Job
from deltal_openrlhf.comparison.results import read_run
from deltal_openrlhf.comparison.spec import Arm


@dataclass(frozen=True)
class Choice:
    """rate: None for that of the flags. table: the entries of comparison.json's learning_rates. usable: False if no trial rate was fit."""

    rate: float | None
    table: tuple[dict[str, Any], ...]
    usable: bool
    warning: str | None


def choose(arm: Arm, family: str, trials: Sequence[Job], results: Mapping[str, dict[str, Any]], out: Path) -> Choice:
    """The highest mean score; the smaller rate if two are equal. A rate with a crashed trial is not chosen."""
    rule = arm.learning_rate
    if rule is None or not trials:
        return Choice(rule.choices[0] if rule else None, (), True, None)
    rows: list[dict[str, Any]] = []
    for rate in rule.choices:
        jobs = [job for job in trials if job.learning_rate == rate]
        ended = [job for job in jobs if "crashed" not in results[job.name]]
        scores = [measures(*read_run(out / job.name))[rule.by] for job in ended]
        rows.append({"lr": rate, "score": estimate(scores), "runs": len(ended), "crashed": len(jobs) - len(ended)})
    fit = [row for row in rows if not row["crashed"] and row["score"]["value"] is not None]
    best = max(fit, key=lambda row: row["score"]["value"]) if fit else None
    table = tuple({"family": family, **row, "chosen": row is best} for row in rows)
    if best is None:
        return Choice(None, table, False, f"{family}: every learning rate had a run that crashed; none was chosen")
    warning = None
    if best in (rows[0], rows[-1]):
        end = "lowest" if best is rows[0] else "highest"
        warning = f"{family}: the chosen learning rate, {best['lr']:g}, is the {end} of those tried; try more of them"
    return Choice(best["lr"], table, True, warning)
