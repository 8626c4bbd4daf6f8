"""A whole comparison: checks the flags, runs what is missing, and writes the report."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from deltal_openrlhf.comparison.checks import check_flags
from deltal_openrlhf.comparison.curves import measures, read_run
from deltal_openrlhf.comparison.grid import Job, check_names, grid_jobs, rate_jobs, start_names
from deltal_openrlhf.comparison.pool import Engine, Outcome, Pool
from deltal_openrlhf.comparison.schedule import Schedule
from deltal_openrlhf.comparison.spec import Arm, Spec, shared_flags
from deltal_openrlhf.comparison.summary import summarize
from deltal_openrlhf.reports.numbers import count, estimate_text
from deltal_openrlhf.runs.files import write_atomically
from deltal_openrlhf.runs.journal import locked
from deltal_openrlhf.runs.progress import time_left

COMPARISON = "comparison.json"


def run_comparison(
    spec: Spec,
    arms: Sequence[Arm],
    out: Path,
    engine: Engine,
    *,
    workers: int,
    retry_crashed: bool,
    command: str,
) -> dict[str, Any]:
    """Run the arms, write the report, and return comparison.json. Raises ValueError, in one line, for what is refused.

    command: the command line, for the report.
    """
    check_names(spec)
    with locked(out, "comparison"):
        schedule = Schedule(spec, arms, out, retry_crashed=retry_crashed)
        ended, total = schedule.total()
        print(f"{count(total, 'run')}, {ended} of them done before; {workers} at once; in {out}", flush=True)
        if ended < total:
            check_flags(spec.engine, distinct_flags(spec, arms))
            with Pool(engine, workers, out) as pool:
                for outcome in pool.run(schedule.next_job):
                    choice = schedule.finish(*outcome)
                    ended, _ = schedule.total()
                    left = time_left(seconds_left(schedule, arms, workers))
                    print(f"[{ended}/{total}] {_said(outcome, out)}{left}", flush=True)
                    if choice is not None and choice.table:
                        rate = "none" if choice.rate is None else f"{choice.rate:g}"
                        print(f"{outcome.job.arm.name}, {outcome.job.family}: learning rate {rate}", flush=True)
        comparison = summarize(schedule) | {"command": command}
        write_atomically(out / COMPARISON, json.dumps(comparison, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        write_report(comparison, out)
    return comparison


def seconds_left(schedule: Schedule, arms: Sequence[Arm], workers: int) -> float | None:
    """The estimated time of the missing runs. A run takes the mean of its arm's finished ones, or of all finished ones if the arm has none.
    None if none has finished.
    """
    left = {arm.name: schedule.left(arm) for arm in arms}
    finished = {arm.name: schedule.seconds(arm) for arm in arms}
    all_finished = [seconds for of_arm in finished.values() for seconds in of_arm]
    if not all_finished:
        return None
    return sum(runs * fmean(finished[name] or all_finished) for name, runs in left.items()) / workers


def write_report(comparison: dict[str, Any], out: Path) -> None:
    from deltal_openrlhf.comparison import page  # matplotlib is slow to import

    page.write_report(comparison, out)


def distinct_flags(spec: Spec, arms: Sequence[Arm]) -> list[Job]:
    """One run for each arm, method and start. Its seed and learning rate are arbitrary, because no check depends on them."""
    names = start_names(spec)
    found: dict[tuple[str, str, str], Job] = {}
    for arm in arms:
        rate = arm.learning_rate.choices[0] if arm.learning_rate else None
        for family in arm.families:
            for job in [*grid_jobs(arm, family, rate, names), *rate_jobs(arm, family, names)]:
                found.setdefault((arm.name, job.method, job.start), job)
    return list(found.values())


def plan(spec: Spec, arms: Sequence[Arm], out: Path) -> str:
    """The text of --dry_run: what would run. Raises ValueError like run_comparison."""
    check_names(spec)
    schedule = Schedule(spec, arms, out)
    check_flags(spec.engine, distinct_flags(spec, arms))
    shared = shared_flags([arm.flags for arm in arms])
    lines = ["all arms", *_flag_lines(shared)]
    for arm in arms:
        groups = [schedule.jobs(arm, family) for family in arm.families]
        trials, runs = sum(len(group[0]) for group in groups), sum(len(group[1]) for group in groups)
        first = f", after {trials} that choose learning rates" if trials else ""
        sizes = ((arm.methods, "method"), (arm.starts, "start"), (arm.seeds, "seed"))
        product = " x ".join(count(len(what), name) for what, name in sizes)
        lines.append(f"{arm.name}: {count(runs, 'run')}, {product}{first}")
        lines += _flag_lines({flag: value for flag, value in arm.flags.items() if flag not in shared})
        for family, members in arm.families.items():
            for method in members:
                flags = " ".join(f"--{flag} {value}" for flag, value in arm.methods[method].items())
                lines.append(f"  {method} (family {family}): {flags}")
    ended, total = schedule.total()
    return "\n".join([*lines, f"{count(total, 'run')}, {ended} of them done"])


def _flag_lines(flags: dict[str, Any]) -> list[str]:
    return [f"  --{flag} {value}" for flag, value in flags.items()]


def _said(outcome: Outcome, out: Path) -> str:
    """The result of a run, and how long it took."""
    job, result = outcome
    if "crashed" in result:
        return f"{job.name}: crashed: {result['crashed']}"
    found = measures(*read_run(out / job.name))
    scores = ", ".join(f"{name} {found[name]:.3f}" for name in ("final", "auc") if found[name] is not None)
    return f"{job.name}: {scores}, {result['seconds']:.0f} s"


def overview(comparison: dict[str, Any]) -> str:
    """Final accuracy and area under the curve of each method, and the paired differences of the former, as text."""
    lines = []
    for arm in comparison["arms"]:
        lines.append(f"{arm['name']} ({arm['steps']} steps)")
        width = max(len(method["name"]) for method in arm["methods"])
        for method in arm["methods"]:
            crashed = f", {len(method['crashed'])} crashed" if method["crashed"] else ""
            numbers = "  ".join(f"{name} {estimate_text(method[name])}" for name in ("final", "auc"))
            lines.append(f"  {method['name']:<{width}}  {numbers}  ({count(method['runs'], 'run')}{crashed})")
        lines += [f"  final, {said}" for said in _differences([*arm["families"], *arm["pairs"]])]
        lines += [f"  {warning}" for warning in arm["warnings"]]
    if comparison["interactions"]:
        lines.append(f"interactions with {comparison['spec']['interactions_with']}")
        for arm in comparison["arms"]:
            found = [entry for entry in comparison["interactions"] if entry["arm"] == arm["name"]]
            lines += [f"  {arm['name']}, final, {said}" for said in _differences(found)]
    return "\n".join(lines)


def _differences(entries: Sequence[dict[str, Any]]) -> list[str]:
    """Those in final accuracy, as text."""
    return [
        f"{entry['b']} - {entry['a']}: {estimate_text(entry['difference'])}, {count(entry['n'], 'pair')}"
        + ("" if entry["difference"]["resolved"] else ", not resolved")
        for entry in entries
        if entry["metric"] == "final" and entry["difference"]["value"] is not None
    ]
