"""The runs of an experiment. Each has a name, which is its folder under --out, and its flags of `deltal train`."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltal_openrlhf.comparison.spec import Arm, Spec

SEED, START = "train.seed", "actor.model_name_or_path"


@dataclass(frozen=True)
class Job:
    """One training run.

    rate: its learning rate, None if the flags have it. trial: whether the run serves to choose that rate.
    """

    name: str
    arm: Arm
    family: str
    method: str
    start: str
    seed: int
    rate: float | None
    trial: bool = False

    @property
    def flags(self) -> dict[str, Any]:
        """The flags of `deltal train`, without dashes."""
        rule = self.arm.learning_rate
        chosen = {} if self.rate is None or rule is None else {rule.flag: self.rate}
        return self.arm.flags | self.arm.methods[self.method] | chosen | {START: self.start, SEED: self.seed}


def slug(label: str) -> str:
    """The label as a folder's name: "∆L 0.75" is deltal-0.75."""
    text = re.sub("[∆Δ]", "delta", label).lower()
    return re.sub(r"[^\w.]+", "-", text, flags=re.ASCII).strip("-.")


def start_names(spec: Spec) -> dict[str, str]:
    """The name of each start: the last part of its path, or the whole path if another start ends alike."""
    rates = [arm.learning_rate.starts for arm in spec.arms if arm.learning_rate]
    starts = list(dict.fromkeys(start for group in (*(arm.starts for arm in spec.arms), *rates) for start in group))
    short = {start: Path(start).resolve().name for start in starts}
    alike = {name for name in short.values() if list(short.values()).count(name) > 1}
    return {start: slug(start if name in alike else name) for start, name in short.items()}


def check_names(spec: Spec) -> None:
    """Raise ValueError for two labels that would share a folder."""
    groups = {"starts": start_names(spec), "arms": {arm.name: slug(arm.name) for arm in spec.arms}}
    for arm in spec.arms:
        groups[f"methods of arm {arm.name!r}"] = {label: slug(label) for label in arm.methods}
        groups[f"families of arm {arm.name!r}"] = {label: slug(label) for label in arm.families}
    for what, folders in groups.items():
        seen: dict[str, str] = {}
        for label, folder in folders.items():
            if not folder:
                raise ValueError(f"{what}: {label!r} has no letter or digit that could name a folder")
            if folder in seen:
                raise ValueError(f"{what}: {seen[folder]!r} and {label!r} would share the folder {folder}")
            seen[folder] = label


def rate_jobs(arm: Arm, family: str, names: dict[str, str]) -> list[Job]:
    """The runs that choose a family's learning rate: those of its first method, on separate seeds. Empty if there is no choice."""
    rate = arm.learning_rate
    if rate is None or len(rate.choices) == 1:
        return []
    method = arm.families[family][0]
    folder = f"learning_rates/{slug(arm.name)}/{slug(family)}"
    return [
        Job(f"{folder}/lr{choice:g}/{names[start]}/seed{seed}", arm, family, method, start, seed, choice, trial=True)
        for seed in rate.seeds
        for start in rate.starts
        for choice in rate.choices
    ]


def grid_jobs(arm: Arm, family: str, rate: float | None, names: dict[str, str]) -> list[Job]:
    """The runs of a family's methods: all methods of a seed, then the next seed. rate: None for the flags' rate."""
    return [
        Job(f"runs/{slug(arm.name)}/{names[start]}/{slug(method)}/seed{seed}", arm, family, method, start, seed, rate)
        for seed in arm.seeds
        for start in arm.starts
        for method in arm.families[family]
    ]
