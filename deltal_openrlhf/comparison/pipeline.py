"""An engine: one run of `deltal train`, in a process of its own. An interrupted run resumes from its last checkpoint."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from deltal_openrlhf.comparison.state import CONSOLE
from deltal_openrlhf.runs.files import write_atomically
from deltal_openrlhf.runs.metrics_file import EVALS, NAME, read_metrics
from deltal_openrlhf.runs.tether import tethered

FLAGS, CHECKPOINTS = "flags.yaml", "ckpt"
TAG = "global_step"
"""A checkpoint is named so, followed by its step."""
SAVE_WITHIN = 20
"""Seconds that a run may take to save when it is told to end: less than the pool waits for it."""
LOOK_EVERY = 0.5
"""Seconds between two looks at the processes' CPU time."""


def run(flags: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Train; console, metrics.jsonl, evals.jsonl and the trained model go into `folder`. Returns {"steps", "cpu_seconds"}.

    Raises RuntimeError with the command's own reason if it fails.
    """
    console = folder / CONSOLE
    said_before = console.stat().st_size if console.exists() else 0  # by an earlier part of an interrupted run
    write_atomically(folder / FLAGS, yaml.safe_dump(dict(flags), allow_unicode=True))
    # In a session of its own: Ctrl-C reaches the parent, which ends us, and then the kernel tells the command to end.
    process = tethered(command(folder), signal.SIGTERM, start_new_session=True)
    seconds = _wait(process)
    if process.returncode:
        raise RuntimeError(_reason(console, said_before, process.returncode))
    rows = read_metrics(str(folder / NAME)) if (folder / NAME).exists() else []
    if not rows:
        raise RuntimeError("deltal train ended without a training step: the prompts do not fill one rollout")
    if missing := _missing_evaluations(flags, folder, rows[-1]["step"]):
        raise RuntimeError(f"evals.jsonl has no evaluation after step {missing[0]}")
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)  # only there to resume from
    return {"steps": rows[-1]["step"], "cpu_seconds": seconds}


def command(folder: Path) -> list[str]:
    """The command line; the run's flags are in folder/flags.yaml."""
    ours = {"config": folder / FLAGS, "ckpt.output_dir": folder, "ckpt.path": folder / CHECKPOINTS}
    words = [word for name, value in ours.items() for word in (f"--{name}", str(value))]
    # Checkpoints are only to resume from: none is kept for its score.
    words += ["--ckpt.best_metric_key", "none", "--ckpt.load_enable"]
    words += ["--deltal.grace", str(SAVE_WITHIN)]
    return [sys.executable, "-m", "deltal_openrlhf.train_ppo_ray", *words]


def can_resume(folder: Path, flags: Mapping[str, Any]) -> bool:
    """Whether an interrupted run has left a checkpoint to resume from.

    A run that is interrupted between a checkpoint and the evaluation after the same step would skip that evaluation. In that case `latest`
    is set back to the checkpoint before it.
    """
    latest = folder / CHECKPOINTS / "_actor" / "latest"
    if not latest.is_file():
        return False
    newest = int(latest.read_text(encoding="utf-8").strip().removeprefix(TAG))
    steps = [int(path.name.removeprefix(TAG)) for path in latest.parent.glob(f"{TAG}*")]
    whole = [step for step in steps if step <= newest and not _missing_evaluations(flags, folder, step)]
    if whole:
        write_atomically(latest, f"{TAG}{max(whole)}")
    return bool(whole)


def _wait(process: subprocess.Popen) -> float:
    """Wait for the process. Returns the CPU seconds of it and all its descendants, without the last half second.

    The descendants end in several ways, so they are watched while they run.
    """
    taken: dict[psutil.Process, float] = {}
    root = psutil.Process(process.pid)
    while True:
        try:
            for one in (root, *root.children(recursive=True)):
                times = one.cpu_times()
                taken[one] = times.user + times.system
        except psutil.NoSuchProcess:
            pass  # it ended while we looked; the others are looked at again
        try:
            process.wait(LOOK_EVERY)
            return sum(taken.values())
        except subprocess.TimeoutExpired:
            continue


def _reason(console: Path, said_before: int, code: int) -> str:
    """The last thing that the command said about its end. said_before: bytes in the console before the command began."""
    lines = console.read_bytes()[said_before:].decode("utf-8", errors="replace").splitlines()
    said = [line for line in lines if re.match(r"deltal train: (stopped|error): ", line)]
    return said[-1] if said else f"deltal train ended with exit code {code}"


def _missing_evaluations(flags: Mapping[str, Any], folder: Path, steps: int) -> list[int]:
    """The steps up to this one that should have had an evaluation and have none."""
    every = int(flags.get("eval.steps") or -1)
    if not flags.get("eval.dataset") or every <= 0:
        return []
    path = folder / EVALS
    found = {row["step"] for row in read_metrics(str(path))} if path.exists() else set()
    return [step for step in range(every, steps + 1, every) if step not in found]
