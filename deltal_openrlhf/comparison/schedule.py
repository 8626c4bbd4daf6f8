"""Chooses the next run. In each arm, runs that choose learning rates come first. The comparison's runs follow, family by family as its rate
is known.

A worker that would wait for a learning rate takes a run of the next arm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltal_openrlhf.comparison import pipeline, state
from deltal_openrlhf.comparison.curves import measures, read_run
from deltal_openrlhf.comparison.grid import Job, grid_jobs, rate_jobs, start_names
from deltal_openrlhf.comparison.spec import Arm, Spec
from deltal_openrlhf.statistics import student


@dataclass(frozen=True)
class Choice:
    """The learning rate of a family.

    rate: None for the flags' rate. table: its entries in learning_rates of comparison.json. usable: False if every rate had a crash.
    """

    rate: float | None
    table: tuple[dict[str, Any], ...]
    usable: bool
    warning: str | None


def choose_rate(
    arm: Arm, family: str, trials: Sequence[Job], results: Mapping[str, dict[str, Any]], out: Path
) -> Choice:
    """The rate with the highest mean score, and the smaller one of two equal ones. A rate with a crashed trial is not chosen."""
    rule = arm.learning_rate
    if rule is None or not trials:
        return Choice(rule.choices[0] if rule else None, (), True, None)
    rows: list[dict[str, Any]] = []
    for rate in rule.choices:
        jobs = [job for job in trials if job.rate == rate]
        ended = [job for job in jobs if "crashed" not in results[job.name]]
        score = student.mean([measures(*read_run(out / job.name))[rule.by] for job in ended])
        rows.append({"lr": rate, "score": score.as_json(), "runs": len(ended), "crashed": len(jobs) - len(ended)})
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


class Schedule:
    """All runs of the experiment, with their results, under `out`. `arms` are those to run."""

    def __init__(self, spec: Spec, arms: Sequence[Arm], out: Path, *, retry_crashed: bool = False) -> None:
        """Raises ValueError if one of the runs was begun with other settings."""
        self.spec, self.out = spec, out
        self.results: dict[str, dict[str, Any]] = {}
        self.chosen: dict[tuple[str, str], Choice] = {}
        self._arms, self._retry = arms, retry_crashed
        self._names = start_names(spec)
        self._settings = state.Settings(spec.engine)
        self._jobs: dict[tuple[str, str], tuple[list[Job], list[Job]]] = {}
        self._begun: set[str] = set()
        for arm in spec.arms:
            for family in arm.families:
                self._jobs[arm.name, family] = rate_jobs(arm, family, self._names), []
                self._look_up(self._jobs[arm.name, family][0])
                self._choose(arm, family)

    def jobs(self, arm: Arm, family: str) -> tuple[list[Job], list[Job]]:
        """(runs that choose the learning rate, runs of the comparison). While the rate is unknown, the latter lack it in their flags."""
        trials, runs = self._jobs[arm.name, family]
        return trials, runs or grid_jobs(arm, family, None, self._names)

    def of(self, arm: Arm) -> list[Job]:
        """All runs of the arm."""
        return [job for family in arm.families for group in self.jobs(arm, family) for job in group]

    def next_job(self) -> Job | None:
        """The next run, with its folder prepared. None if none can begin now."""
        for job in self._ready():
            if job.name not in self._begun and job.name not in self.results:
                folder = self.out / job.name
                # One that crashed begins anew, whatever it has left.
                resumes = state.is_interrupted(folder) and pipeline.can_resume(folder, job.flags)
                state.begin(folder, self._settings.of(job), keep=resumes)
                self._begun.add(job.name)
                return job
        return None

    def finish(self, job: Job, result: dict[str, Any]) -> Choice | None:
        """Record a run's result. Returns the family's learning rate if this result decides it."""
        state.end(self.out / job.name, result)
        self.results[job.name] = result
        if not job.trial:
            return None
        self._choose(job.arm, job.family)
        return self.chosen.get((job.arm.name, job.family))

    def total(self) -> tuple[int, int]:
        """(ended, all) runs of the arms that are to be run."""
        names = [job.name for arm in self._arms for job in self.of(arm)]
        return sum(name in self.results for name in names), len(names)

    def seconds(self, arm: Arm) -> list[float]:
        """Wall seconds of the arm's finished runs, those of earlier sessions included."""
        results = [self.results[job.name] for job in self.of(arm) if job.name in self.results]
        return [result["seconds"] for result in results if "crashed" not in result]

    def left(self, arm: Arm) -> float:
        """The number of missing runs of the arm. A running one counts half."""
        usable = [f for f in arm.families if (arm.name, f) not in self.chosen or self.chosen[arm.name, f].usable]
        jobs = [job for family in usable for group in self.jobs(arm, family) for job in group]
        return sum(0.5 if job.name in self._begun else 1.0 for job in jobs if job.name not in self.results)

    def _ready(self) -> list[Job]:
        order = []
        for arm in self._arms:
            order += [job for family in arm.families for job in self._jobs[arm.name, family][0]]
            # All families of a seed, then the next seed.
            runs = [job for family in arm.families for job in self._jobs[arm.name, family][1]]
            order += sorted(runs, key=lambda job: arm.seeds.index(job.seed))
        return order

    def _look_up(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            result = state.earlier_result(self.out / job.name, self._settings.of(job))
            if result is not None and not (self._retry and "crashed" in result and job.arm in self._arms):
                self.results[job.name] = result

    def _choose(self, arm: Arm, family: str) -> None:
        """Fix the family's learning rate, and thereby its runs, once all its trials have ended."""
        trials, runs = self._jobs[arm.name, family]
        if runs or any(job.name not in self.results for job in trials):
            return
        choice = choose_rate(arm, family, trials, self.results, self.out)
        self.chosen[arm.name, family] = choice
        if choice.usable:
            runs += grid_jobs(arm, family, choice.rate, self._names)
            self._look_up(runs)
