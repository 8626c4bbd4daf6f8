"""Chooses the checkpoint from which a run resumes: the one that `latest` names, or the newest whole one before it if that one is broken."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host import checksums

_STEP = re.compile(r"(?:best_)?global_step(\d+)")
SAVED_BY = "saved_by.txt"
"""Within a checkpoint of each model: which start of the run saved it. A run that resumed before this step saves it again."""


class Fault(NamedTuple):
    """Why a checkpoint cannot be used. is_partial: one of two models lacks it, or has that of another start; nothing is broken."""

    text: str
    is_partial: bool = False


class Choice(NamedTuple):
    """The checkpoint to resume from.

    broken, partial: the newer ones that cannot be used, each as "global_step8 (FILE: what is wrong)".
    """

    tag: str
    broken: Sequence[str]
    has_checksums: bool
    partial: Sequence[str] = ()

    def warnings(self, folder: Path) -> list[str]:
        """Clear lines about newer checkpoints that are broken, about partial ones, and about a checkpoint that nothing can verify."""
        loud = (
            f"BROKEN CHECKPOINT in {folder}: {', '.join(self.broken)}; resuming from {self.tag}, the newest whole one"
        )
        partial = (
            f"checkpoint of one model without the other in {folder}: {', '.join(self.partial)}, as left by a run that ends between its "
            f"two saves; resuming from {self.tag}, which both models have"
        )
        unknown = f"checkpoint {self.tag} in {folder} was saved without {checksums.NAME}: a flipped bit in it would not be noticed"
        return [loud] * bool(self.broken) + [partial] * bool(self.partial) + [unknown] * (not self.has_checksums)


def step_of(tag: str) -> int | None:
    """The PPO step of a checkpoint, by its name: 8 of global_step8 and of best_global_step8; None for other names.

    Other names are no checkpoints of a run: .deleted_global_step6 was left by a kill.
    """
    found = _STEP.fullmatch(tag)
    return int(found[1]) if found else None


def newest(folder: Path) -> str | None:
    """The checkpoint that `latest` in the folder names. None if there is none."""
    try:
        return (folder / "latest").read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return None


def tags_in(folder: Path) -> list[str]:
    """The checkpoints to try, the best first: the one that `latest` names, and those before it. Empty if nothing was saved."""
    first = newest(folder)
    return [] if first is None else [first, *_before(folder, first)]


def choose(folder: Path, tags: Sequence[str], fault: Callable[[str], Fault | None]) -> Choice | None:
    """The first usable checkpoint. None if there are no checkpoints. fault: gives the reason why a tag cannot be used, None if it can.

    Raises ValueError, in one line, if none is whole.
    """
    faults: dict[str, Fault] = {}
    for tag in tags:
        found = fault(tag) if tag else Fault("`latest` is empty")
        if found is None:
            partial = [text for text, other in faults.items() if other.is_partial]
            broken = [text for text in faults if text not in partial]
            return Choice(tag, broken, checksums.are_in(folder / tag), partial)
        faults[f"{tag or '?'} ({found.text})"] = found
    if not faults:
        return None
    raise ValueError(
        f"no whole checkpoint is left in {folder}: {', '.join(faults)}; restore one, or start anew with another --ckpt.path"
    )


def loaded_together(args: Arguments, folder: Path) -> list[Path]:
    """The folders from which a run loads checkpoints of one tag, the policy's first: this one and, with a critic, the other model's."""
    both = [folder.with_name("_actor"), folder.with_name("_critic")]
    if args.algo.advantage.estimator != "gae" or folder not in both:
        return [folder]
    return [one for one in both if one.is_dir()] or [folder]


def is_saved(folders: Sequence[Path], tag: str) -> bool:
    """Whether each of these folders has this checkpoint as its newest one, saved by the same start of the run."""
    return all(newest(folder) == tag for folder in folders) and _are_of_one_start(folders, tag)


def fault_in(
    folders: Sequence[Path], rank: int = 0, ranks: int = 1, label: str = checksums.LABEL
) -> Callable[[str], Fault | None]:
    """For choose: a checkpoint is whole if each of these folders has it, of one start. rank, ranks, label: as in checksums.fault."""

    def fault(tag: str) -> Fault | None:
        there = [folder for folder in folders if (folder / tag).is_dir()]
        if there and len(there) < len(folders):
            lacking = next(folder for folder in folders if folder not in there)
            return Fault(f"{lacking.name} has none", is_partial=True)
        for folder in folders:
            if wrong := checksums.fault(folder / tag, rank, ranks, label):
                return Fault(f"{folder.name}: {wrong}" if len(folders) > 1 else wrong)
        if not _are_of_one_start(folders, tag):
            return Fault("the two models were saved by different starts", is_partial=True)
        return None

    return fault


def _are_of_one_start(folders: Sequence[Path], tag: str) -> bool:
    return len({_saved_by(folder / tag) for folder in folders}) == 1


def _saved_by(checkpoint: Path) -> str | None:
    """The start of the run that saved it. None for a checkpoint of the stock host or of an older version."""
    try:
        return (checkpoint / SAVED_BY).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _before(folder: Path, tag: str) -> list[str]:
    """The other checkpoints of this step and of earlier ones, the newest first. A later one belongs to a past that was abandoned."""
    last = step_of(tag)
    there = {path.name: step_of(path.name) for path in folder.iterdir() if path.is_dir()}
    steps = {
        name: step
        for name, step in there.items()
        if name != tag and step is not None and (last is None or step <= last)
    }
    return sorted(steps, key=lambda name: (-steps[name], name.startswith("best")))
