"""comparison.json, which holds everything that the report shows about the existing runs."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from deltal_openrlhf.comparison import curves, paired
from deltal_openrlhf.comparison.grid import Job, start_names
from deltal_openrlhf.comparison.schedule import Schedule
from deltal_openrlhf.comparison.spec import Arm
from deltal_openrlhf.statistics import student

FORMAT = 1
MEASURES = ("final", "auc", "largest_drop", "monotonicity", "length", "entropy", "grad_norm", "clip_share")
CURVES = ("accuracy", "length", "entropy", "grad_norm")


def summarize(schedule: Schedule) -> dict[str, Any]:
    """comparison.json, without NaN and inf. An arm without a finished run is left out; its runs are listed as unfinished."""
    arms = [_arm(schedule, arm) for arm in schedule.spec.arms]
    jobs = [job for arm in schedule.spec.arms for job in schedule.of(arm)]
    return {
        "format": FORMAT,
        "engine": schedule.spec.engine,
        "spec": {"engine": schedule.spec.engine, "arms": [asdict(arm) for arm in schedule.spec.arms]},
        "seconds": sum(result["seconds"] for result in schedule.results.values()),
        "cpu_seconds": sum(result["cpu_seconds"] for result in schedule.results.values()),
        "unfinished": [job.name for job in jobs if job.name not in schedule.results],
        "starts": list(start_names(schedule.spec).values()),
        "arms": [arm for arm in arms if arm is not None],
    }


class _Run:
    """A finished run of the comparison."""

    def __init__(self, schedule: Schedule, job: Job, start: str) -> None:
        rows, evals = curves.read_run(schedule.out / job.name)
        self.key: paired.Key = (start, job.seed)
        self.measures = curves.measures(rows, evals)
        self.steps = rows[-1]["step"]
        self.held_out = curves.held_out(evals)
        self.series = {name: curves.series(rows, curves.METRICS[name]) for name in CURVES}


def _arm(schedule: Schedule, arm: Arm) -> dict[str, Any] | None:
    names = start_names(schedule.spec)
    ended = [(job, schedule.results[job.name]) for job in schedule.of(arm) if job.name in schedule.results]
    if not ended:
        return None
    runs: dict[str, list[_Run]] = {method: [] for method in arm.methods}
    crashed: dict[str, list[dict[str, str]]] = {method: [] for method in arm.methods}
    for job, result in ended:
        if "crashed" in result and not job.trial:
            crashed[job.method].append({"run": job.name, "reason": result["crashed"]})
        elif not job.trial:
            runs[job.method].append(_Run(schedule, job, names[job.start]))
    there = [run for group in runs.values() for run in group]
    choices = [schedule.chosen[arm.name, family] for family in arm.families if (arm.name, family) in schedule.chosen]
    last = max((max(run.held_out) for run in there if run.held_out), default=None)
    return {
        "name": arm.name,
        "flags": arm.flags,
        "steps": max((run.steps for run in there), default=0),
        "final_from": "reward" if last is None else "held_out",
        "final_step": last,
        "seconds": sum(result["seconds"] for _, result in ended),
        "cpu_seconds": sum(result["cpu_seconds"] for _, result in ended),
        "cpu_seconds_of_rates": sum(result["cpu_seconds"] for job, result in ended if job.trial),
        "warnings": [choice.warning for choice in choices if choice.warning],
        "learning_rates": [row for choice in choices for row in choice.table],
        "methods": [_method(schedule, arm, method, runs[method], crashed[method]) for method in arm.methods],
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


def _comparisons(arm: Arm, runs: dict[str, list[_Run]]) -> dict[str, Any]:
    """Pairs of methods, and of families where at least one has several methods."""

    def of_method(method: str, metric: str) -> paired.Values:
        return {run.key: run.measures[metric] for run in runs[method]}

    def of_family(family: str, metric: str) -> paired.Values:
        return paired.mean_over([of_method(method, metric) for method in arm.families[family]])

    several = any(len(members) > 1 for members in arm.families.values())
    return {
        "pairs": paired.all_pairs(list(arm.methods), of_method),
        "families": paired.all_pairs(list(arm.families), of_family) if several else [],
    }
