"""How long the commands take before they answer, each as a process of its own.

    python scripts/bench_surface.py --json docs/evidence/surface.json
    python scripts/bench_surface.py --start runs/quickstart/start      # also from `deltal train` to the first step of the quick start

`seconds` is by the clock: run it on an idle machine. `core_seconds` is what the process and its children computed, which depends less on
what else runs.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

PAIRS = [("1/2", "0.5"), ("x^2 - 1", "(x - 1)(x + 1)"), ("7", "8")]


class Case(NamedTuple):
    """words: after `deltal`. status: that it ends with. limit: seconds, the aim."""

    name: str
    words: list[str]
    status: int
    limit: float


def cases(folder: Path) -> list[Case]:
    """The commands. folder: for their files."""
    (folder / "misspelt.yaml").write_text("actor.adam.rate: 1e-6\n")
    lines = [json.dumps({"gold": gold, "pred": pred}) + "\n" for gold, pred in PAIRS]
    (folder / "answers.jsonl").write_text("".join(lines))
    return [
        Case("--help", ["--help"], 0, 0.2),
        Case("a misspelt flag", ["train", "--rollout.n_sample_per_prompt", "8"], 2, 0.5),
        Case("a missing YAML file", ["train", "--config", "missing.yaml"], 2, 0.5),
        Case("an unknown key in a YAML file", ["train", "--config", "misspelt.yaml"], 2, 0.5),
        Case("train --dry_run", ["train", "--config", "math-deltal", "--dry_run"], 0, 6.0),
        Case("doctor", ["doctor"], 0, 4.0),
        Case("grade of a small file", ["grade", "answers.jsonl"], 0, 1.0),
    ]


def measured(case: Case, folder: Path) -> tuple[float, float]:
    """(seconds, core-seconds) of one run. Raises RuntimeError if it ends with another status."""
    command = [str(Path(sys.executable).with_name("deltal")), *case.words]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode != case.status:
        raise RuntimeError(f"deltal {' '.join(case.words)} ended with {ended.returncode}: {ended.stderr}")
    return seconds, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def first_step(start: Path, folder: Path) -> float:
    """Seconds from the quick start's training command to the first row of its metrics. start: the model."""
    from deltal_openrlhf.quickstart import training

    run = training.Training(
        start=start,
        out=folder,
        prompts=folder / "train.jsonl",
        loss=["--loss_agg", "deltal", "--alpha", "1"],
        steps=1,
        seed=0,
    )
    training.write_prompts(run)
    metrics, began = folder / "checkpoint" / "metrics.jsonl", time.perf_counter()
    with open(folder / "console.log", "w") as console:
        process = subprocess.Popen(training.command(run), stdout=console, stderr=subprocess.STDOUT)
        while not (metrics.exists() and metrics.stat().st_size) and process.poll() is None:
            time.sleep(0.05)
        seconds = time.perf_counter() - began
        if process.wait():
            raise RuntimeError(f"the training ended with {process.returncode}: {(folder / 'console.log').read_text()}")
    return seconds


def row(name: str, seconds: list[float], core_seconds: list[float], limit: float) -> dict:
    return {
        "name": name,
        "limit": limit,
        "least": round(min(seconds), 2),
        "median": round(statistics.median(seconds), 2),
        "core_seconds": round(min(core_seconds), 2) if core_seconds else None,
        "runs": len(seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="runs of each command; default 5")
    parser.add_argument("--start", type=Path, help="a model of the quick start: time its first PPO step too, 3 times")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in cases(folder):
            runs = [measured(case, folder) for _ in range(args.runs)]
            rows.append(row(case.name, [run[0] for run in runs], [run[1] for run in runs], case.limit))
            print_row(rows[-1])
        if args.start:
            times = []
            for number in range(3):
                (folder / str(number)).mkdir()
                times.append(first_step(args.start.absolute(), folder / str(number)))
            rows.append(row("to the first step of the quick start", times, [], 20.0))
            print_row(rows[-1])
    if args.json:
        found = {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "rows": rows}
        args.json.write_text(json.dumps(found, indent=1) + "\n")


def print_row(found: dict) -> None:
    core = "" if found["core_seconds"] is None else f"  {found['core_seconds']:6.2f} core-seconds"
    print(
        f"{found['name']:<38} least {found['least']:6.2f} s  median {found['median']:6.2f} s  aim {found['limit']:4.1f} s{core}",
        flush=True,
    )


if __name__ == "__main__":
    main()
