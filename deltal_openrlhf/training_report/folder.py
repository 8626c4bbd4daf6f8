"""What a training run leaves in its folder (--ckpt.output_dir)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltal_openrlhf.runs import rollouts, run_settings
from deltal_openrlhf.runs.metrics_file import EVALS, NAME, read_metrics
from deltal_openrlhf.runs.run_settings import RunSettings

MOST_RUNS = 8


@dataclass(frozen=True)
class TrainingRun:
    label: str
    """The end of its folder's path, as much as tells it from the other runs."""
    folder: Path
    metrics: list[dict[str, Any]]
    """One row a PPO step."""
    evals: list[dict[str, Any]]
    """One row an evaluation."""
    settings: RunSettings | None
    """None for a run of an earlier version."""
    rollouts: dict[int, Path]
    """PPO step -> file of its saved responses, by step."""

    @property
    def is_finished(self) -> bool:
        return self.metrics[-1]["step"] == self.metrics[-1].get("total_steps")

    def flag(self, name: str) -> Any:
        return self.settings.flags.get(name) if self.settings else None


def read_runs(folders: Sequence[Path]) -> list[TrainingRun]:
    """Raises ValueError, in one line, for a folder without metrics, a broken line, and a folder given twice."""
    resolved = [folder.resolve() for folder in folders]
    if len(folders) > MOST_RUNS:
        raise ValueError(f"{len(folders)} runs were given, allowed are up to {MOST_RUNS} on one page")
    twice = [str(folder) for i, folder in enumerate(folders) if resolved[i] in resolved[:i]]
    if twice:
        raise ValueError(f"{twice[0]}: given twice")
    return [_read(folder, label) for folder, label in zip(folders, labels(resolved), strict=True)]


def labels(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that differ; of one path its last two names. folders: absolute, no two equal."""
    for parts in range(1 if len(folders) > 1 else 2, max(len(folder.parts) for folder in folders) + 1):
        ends = ["/".join(folder.parts[-parts:]) for folder in folders]
        if len(set(ends)) == len(ends):
            break
    return ends


def _read(folder: Path, label: str) -> TrainingRun:
    path = folder / NAME
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    if not path.is_file():
        below = sorted(found.parent for found in folder.glob(f"*/{NAME}"))
        hint = f"there is one in {below[0]}" if below else "a run writes it after its first step"
        raise ValueError(f"{folder}: holds no {NAME}; {hint}")
    metrics = read_metrics(path)
    if not metrics:
        raise ValueError(f"{path}: no step has finished yet")
    return TrainingRun(
        label=label,
        folder=folder,
        metrics=metrics,
        evals=read_metrics(folder / EVALS),
        settings=run_settings.read(folder),
        rollouts=rollouts.saved(folder),
    )
