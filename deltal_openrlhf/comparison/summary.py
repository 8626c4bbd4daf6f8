"""comparison.json, which holds everything that the report shows about the existing runs."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from deltal_openrlhf.comparison import curves, paired
from deltal_openrlhf.comparison.grid import start_names
from deltal_openrlhf.comparison.interactions import interactions
from deltal_openrlhf.comparison.schedule import Schedule
from deltal_openrlhf.comparison.spec import Arm
from deltal_openrlhf.reports.numbers import count
from deltal_openrlhf.statistics import student

FORMAT = 1
MEASURES = ("final", "auc", "largest_drop", "monotonicity", "length", "entropy", "grad_norm", "clip_share")
CURVES = ("accuracy", "length", "entropy", "grad_norm")


def summarize(schedule: Schedule) -> dict[str, Any]:
    """comparison.json, without NaN and inf. An arm without a finished run is left out; its runs are listed as unfinished."""
    spec = schedule.spec
    runs = {arm.name: _Runs(schedule, arm) for arm in spec.arms}
    arms = [_arm(schedule, arm, runs[arm.name]) for arm in spec.arms]
    jobs = [job for arm in spec.arms for job in schedule.of(arm)]
    reference = spec.interactions_with

    def values(arm: Arm, method: str, metric: str) -> paired.Values:
        """Accuracies of different kinds make no interaction: on held-out prompts, on all that were drawn, on those that were kept."""
        alike = reference is None or runs[arm.name].kind(method, metric) == runs[reference.name].kind(method, metric)
        return runs[arm.name].values(method, metric) if alike else {}

    return {
        "format": FORMAT,
        "engine": spec.engine,
        "spec": {
            "engine": spec.engine,
            "arms": [asdict(arm) for arm in spec.arms],
            "interactions_with": reference.name if reference else None,
        },
        "seconds": sum(result["seconds"] for result in schedule.results.values()),
        "cpu_seconds": sum(result["cpu_seconds"] for result in schedule.results.values()),
        "unfinished": [job.name for job in jobs if job.name not in schedule.results],
        "starts": list(start_names(spec).values()),
        "arms": [arm for arm in arms if arm is not None],
        "interactions": interactions(spec.arms, reference, values),
    }


class _Run:
    """A finished run of the comparison, as far as all runs of its arm came."""

    def __init__(self, key: paired.Key, rows: curves.Rows, evals: curves.Rows) -> None:
        self.key = key
        self.measures = curves.measures(rows, evals)
        self.held_out = curves.held_out(evals)
        self.series = {name: curves.series(rows, curves.METRICS[name]) for name in CURVES}


class _Runs:
    """The finished runs of an arm.

    With dynamic sampling a run ends when its prompts are used up, so runs differ in their steps. All numbers are then of the steps, and of
    the evaluations, that all of them have. A run that ended before its first evaluation has no final accuracy if others have one.
    """

    def __init__(self, schedule: Schedule, arm: Arm) -> None:
        self.arm = arm
        names = start_names(schedule.spec)
        jobs = [
            job
            for job in schedule.of(arm)
            if not job.trial and "crashed" not in schedule.results.get(job.name, {"crashed": ""})
        ]
        read = [curves.read_run(schedule.out / job.name) for job in jobs]
        steps = [rows[-1]["step"] for rows, _ in read]
        evaluated = [max(found) for _, evals in read if (found := curves.held_out(evals))]
        self.steps, self.final_step = min(steps, default=0), min(evaluated, default=None)
        self.of: dict[str, list[_Run]] = {method: [] for method in arm.methods}
        for job, (rows, evals) in zip(jobs, read, strict=True):
            run = _Run((names[job.start], job.seed), _until(self.steps, rows), _until(self.final_step, evals))
            if evaluated and not run.held_out:
                run.measures["final"] = None
            self.of[job.method].append(run)
        self.warnings = []
        if self.steps < max(steps, default=0):
            self.warnings.append(
                f"runs have {self.steps} to {max(steps)} PPO steps, because dynamic sampling used up their prompts; all numbers and curves "
                f"are of the first {self.steps}"
            )
        if missing := len(evaluated) and len(jobs) - len(evaluated):
            self.warnings.append(
                f"{count(missing, 'run')} ended before the first evaluation, without a final accuracy; a larger --data.max_samples gives "
                "more steps"
            )

    @property
    def is_held_out(self) -> bool:
        """Whether final accuracy is that of the held-out prompts."""
        return self.final_step is not None

    def kind(self, method: str, metric: str) -> str:
        """The prompts that an accuracy is of."""
        if metric == "final" and self.is_held_out:
            return "held out"
        is_filtered = (self.arm.flags | self.arm.methods[method]).get("algo.dynamic_filtering_enable")
        return "drawn and kept" if is_filtered else "drawn"

    def values(self, method: str, metric: str) -> paired.Values:
        return {run.key: run.measures[metric] for run in self.of[method]}


def _until(step: int | None, rows: curves.Rows) -> curves.Rows:
    return [row for row in rows if step is not None and row["step"] <= step]


def _arm(schedule: Schedule, arm: Arm, runs: _Runs) -> dict[str, Any] | None:
    ended = [(job, schedule.results[job.name]) for job in schedule.of(arm) if job.name in schedule.results]
    if not ended:
        return None
    crashed: dict[str, list[dict[str, str]]] = {method: [] for method in arm.methods}
    for job, result in ended:
        if "crashed" in result and not job.trial:
            crashed[job.method].append({"run": job.name, "reason": result["crashed"]})
    choices = [schedule.chosen[arm.name, family] for family in arm.families if (arm.name, family) in schedule.chosen]
    return {
        "name": arm.name,
        "flags": arm.flags,
        "steps": runs.steps,
        "final_from": "held_out" if runs.is_held_out else "reward",
        "final_step": runs.final_step,
        "seconds": sum(result["seconds"] for _, result in ended),
        "cpu_seconds": sum(result["cpu_seconds"] for _, result in ended),
        "cpu_seconds_of_rates": sum(result["cpu_seconds"] for job, result in ended if job.trial),
        "warnings": [*(choice.warning for choice in choices if choice.warning), *runs.warnings],
        "learning_rates": [row for choice in choices for row in choice.table],
        "methods": [_method(schedule, arm, method, runs.of[method], crashed[method]) for method in arm.methods],
        **_comparisons(arm, runs),
    }


def _method(
    schedule: Schedule, arm: Arm, method: str, runs: Sequence[_Run], crashed: list[dict[str, str]]
) -> dict[str, Any]:
    family = arm.family(method)
    choice = schedule.chosen.get((arm.name, family))
    flag = arm.learning_rate.flag if arm.learning_rate else "actor.adam.lr"
    rate = choice.rate if choice and choice.rate is not None else (arm.flags | arm.methods[method]).get(flag)
    shown = {}
    if runs:
        shown = {name: curves.band([run.series[name] for run in runs]) for name in CURVES}
        if any(run.held_out for run in runs):
            shown["held_out"] = curves.band([run.held_out for run in runs])
    return {
        "name": method,
        "family": family,
        "learning_rate": rate,
        "runs": len(runs),
        "crashed": crashed,
        **{name: student.mean([run.measures[name] for run in runs]).as_json() for name in MEASURES},
        "curves": shown,
    }


def _comparisons(arm: Arm, runs: _Runs) -> dict[str, Any]:
    """Pairs of methods, and of families where at least one has several methods."""

    def of_family(family: str, metric: str) -> paired.Values:
        return paired.mean_over([runs.values(method, metric) for method in arm.families[family]])

    several = any(len(members) > 1 for members in arm.families.values())
    return {
        "pairs": paired.all_pairs(list(arm.methods), runs.values),
        "families": paired.all_pairs(list(arm.families), of_family) if several else [],
    }
