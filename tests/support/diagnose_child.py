"""`deltal diagnose` in a process of its own that a test can kill. The process starts warm, from the fork server."""

import sys
import time
from pathlib import Path

import numpy as np

from deltal_openrlhf.parity import forkserver
from deltal_openrlhf.runs.console import send_output_to


def quick_analysis(sample, settings, progress):
    """In place of the statistics: what they were given."""
    progress(1, 1)
    return {
        "format": 1,
        "settings": {name: getattr(settings, name) for name in ("advantage", "max_length", "batch_prompts", "seed")},
        "lengths": sample.lengths.tolist(),
        "rewards": sample.rewards.tolist(),
        "groups": sample.groups.tolist(),
        "truncated": sample.truncated.tolist(),
        "sums": {kind: float(gram.astype(np.float64).sum()) for kind, gram in sample.grams.items()},
        "obstacles": [],
        "recommendation": {"text": "none", "resolved": False, "candidates": []},
    }


def be_quick(patch) -> None:
    """No statistics, no report, and rows that are on the disk soon. patch: as pytest's monkeypatch.setattr."""
    from deltal_openrlhf.diagnostics import run, score_rows

    patch(run, "analyse", quick_analysis)
    patch(run.page, "write_report", lambda findings, folder: None)
    patch(score_rows, "SYNC_EVERY", 0.02)


def _target(argv: list[str], log: Path) -> None:
    import torch

    from deltal_openrlhf.cli.diagnose import main

    torch.set_num_threads(1)
    be_quick(setattr)
    send_output_to(log)
    sys.exit(main(argv))


def start(argv: list[str], log: Path):
    """Its output goes to the end of `log`."""
    process = forkserver.context().Process(target=_target, args=(argv, log))
    process.start()
    return process


def _hold(folder: Path, settings: dict, ready) -> None:
    from deltal_openrlhf.diagnostics.folder import DiagnosisFolder

    with DiagnosisFolder(folder, lambda prompts: settings, settings["prompts"]):
        ready.set()
        time.sleep(60)


def hold(folder: Path, settings: dict):
    """A process that has the folder open until it is killed."""
    ready = forkserver.context().Event()
    process = forkserver.context().Process(target=_hold, args=(folder, settings, ready))
    process.start()
    assert ready.wait(60)
    return process
