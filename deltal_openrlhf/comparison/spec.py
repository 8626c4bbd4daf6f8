"""Reads and checks the YAML file of an experiment. docs/reference/compare.md describes it.

Engine, starts and seeds of the command line win over the file, also over those of single arms.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deltal_openrlhf.runs.command import nearest
from deltal_openrlhf.runs.redaction import redacted
from deltal_openrlhf.runs.yaml_values import read_yaml

ENGINES = ("loop", "pipeline")
SCORES = ("auc", "final")
KEYS = ("engine", "starts", "seeds", "flags", "methods", "families", "learning_rate", "arms", "interactions_with")
ARM_KEYS = ("flags", "methods", "families", "learning_rate", "starts", "seeds")
RATE_KEYS = ("flag", "choices", "seeds", "starts", "by")
ALIASES = {"loss_agg": "actor.loss_agg_mode", "alpha": "deltal.alpha"}
SET_HERE = {
    "train.seed": "the seeds",
    "actor.model_name_or_path": "the starts",
    "ckpt.output_dir": "--out",
    "ckpt.path": "--out",
    "ckpt.load_enable": "deltal compare itself",
    "ckpt.best_metric_key": "deltal compare itself",
    "dry_run": "the command line",
    "config": "the command line",
}
KEPT_OUT = (
    "wandb's is `logger.wandb.key: env` with WANDB_API_KEY set, that of a reward service is in DELTAL_REWARD_TOKEN"
)
ONLY_ARM = "main"
"""The name of the arm of a file without arms."""


@dataclass(frozen=True)
class LearningRate:
    """The choice of the learning rate, once for each family.

    choices: in ascending order; a single one leaves no choice. by: the deciding measure, auc or final.
    """

    flag: str
    choices: tuple[float, ...]
    seeds: tuple[int, ...]
    starts: tuple[str, ...]
    by: str


@dataclass(frozen=True)
class Arm:
    """Methods under equal conditions. flags: those that all its runs share. families: name -> its methods, in order."""

    name: str
    flags: dict[str, Any]
    methods: dict[str, dict[str, Any]]
    families: dict[str, tuple[str, ...]]
    learning_rate: LearningRate | None
    starts: tuple[str, ...]
    seeds: tuple[int, ...]

    def family(self, method: str) -> str:
        return next(name for name, members in self.families.items() if method in members)


@dataclass(frozen=True)
class Spec:
    """interactions_with: the arm from which the differences of the others are told apart, if that is asked for."""

    engine: str
    arms: tuple[Arm, ...]
    interactions_with: Arm | None = None

    def chosen_arms(self, names: Sequence[str] | None) -> tuple[Arm, ...]:
        """The arms of these names, all for None. Raises ValueError for an unknown name."""
        for name in names or ():
            _known("--arm", name, [arm.name for arm in self.arms])
        return tuple(arm for arm in self.arms if names is None or arm.name in names)


def shared_flags(sets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The flags that all of these sets have with the same value."""
    first = sets[0] if sets else {}
    return {flag: value for flag, value in first.items() if all(flags.get(flag) == value for flags in sets)}


def read_spec(
    path: str,
    *,
    engine: str | None = None,
    starts: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> Spec:
    """Read the experiment of a file. The arguments are those of the command line. Raises ValueError in one line that names the fault."""
    given = read_yaml(path)
    try:
        return _spec(given, engine, starts, seeds)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _spec(given: dict[str, Any], engine: str | None, starts: Sequence[str] | None, seeds: Sequence[int] | None) -> Spec:
    for key in given:
        _known("key", key, KEYS)
    engine = engine or given.get("engine", "loop")
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}, allowed are {', '.join(ENGINES)}")
    named = _mapping("methods", given.get("methods"), "is `name: ...`")
    methods = {label: _flags(f"method {label!r}", flags) for label, flags in named.items()}
    if not methods:
        raise ValueError("methods: there is none; wanted is `label: {flags}`")
    whole = Arm(
        name=ONLY_ARM,
        flags=_flags("flags", given.get("flags")),
        methods=methods,
        families=_families("families", given.get("families"), methods),
        learning_rate=None,
        starts=_texts("starts", starts or given.get("starts")),
        seeds=_seeds("seeds", seeds or given.get("seeds")),
    )
    rate = given.get("learning_rate")
    arms = _mapping("arms", given.get("arms"), "is `name: ...`") or {ONLY_ARM: {}}
    forced = {key for key, value in (("starts", starts), ("seeds", seeds)) if value}
    found = {name: _arm(name, own or {}, whole, rate, forced) for name, own in arms.items()}
    return Spec(engine, tuple(found.values()), _reference(given.get("interactions_with"), found))


def _reference(name: Any, arms: Mapping[str, Arm]) -> Arm | None:
    """The arm of interactions_with. Raises ValueError unless an interaction with it exists."""
    if name is None:
        return None
    _known("interactions_with: arm", str(name), arms)
    reference = arms[str(name)]
    if not any(
        arm is not reference and len(arm.methods.keys() & reference.methods.keys()) > 1 for arm in arms.values()
    ):
        raise ValueError(f"interactions_with: no other arm has two methods of arm {reference.name!r}")
    return reference


def _arm(name: str, own: Any, whole: Arm, rate: Any, forced: set[str]) -> Arm:
    what = f"arm {name!r}"
    _check_keys(what, own, ARM_KEYS)
    own_flags = _flags(f"{what}: flags", own.get("flags"))
    arm = replace(whole, name=name, flags=whole.flags | own_flags)
    if "methods" in own:
        chosen = _texts(f"{what}: methods", own["methods"])
        for label in chosen:
            _known(f"{what}: method", label, whole.methods)
        arm = replace(arm, methods={label: flags for label, flags in whole.methods.items() if label in chosen})
    if "families" in own:
        arm = replace(arm, families=_families(f"{what}: families", own["families"], arm.methods))
    else:
        left = {name: tuple(filter(arm.methods.__contains__, members)) for name, members in whole.families.items()}
        arm = replace(arm, families={name: members for name, members in left.items() if members})
    if "starts" in own and "starts" not in forced:
        arm = replace(arm, starts=_texts(f"{what}: starts", own["starts"]))
    if "seeds" in own and "seeds" not in forced:
        arm = replace(arm, seeds=_seeds(f"{what}: seeds", own["seeds"]))
    _check_starts(what, arm.starts)
    for label, flags in arm.methods.items():
        for flag in filter(flags.__contains__, own_flags):
            raise ValueError(f"{what} sets {flag}, and so does method {label!r}: only one of them may")
    return replace(arm, learning_rate=_learning_rate(what, rate, own, arm, forced))


def _learning_rate(what: str, rate: Any, own: dict[str, Any], arm: Arm, forced: set[str]) -> LearningRate | None:
    merged: dict[str, Any] = {}
    for where, part in (("learning_rate", rate), (f"{what}: learning_rate", own.get("learning_rate", {}))):
        if part is None:
            merged = {}
        else:
            _check_keys(where, part, RATE_KEYS)
            merged |= part
    if not merged.get("choices"):
        return None
    choices = merged["choices"]
    if not isinstance(choices, list) or not all(_is_rate(value) for value in choices):
        raise ValueError(f"{what}: learning_rate: choices is {choices!r}, wanted are numbers above 0")
    if len({f"{value:g}" for value in choices}) < len(choices):  # as in the names of their runs
        raise ValueError(f"{what}: learning_rate: choices {choices} has one twice, to six digits")
    flag, by = merged.get("flag", "actor.adam.lr"), merged.get("by", "auc")
    if by not in SCORES:
        raise ValueError(f"{what}: learning_rate: by is {by!r}, allowed are {', '.join(SCORES)}")
    for label, flags in arm.methods.items():
        if flag in flags:
            raise ValueError(f"{what}: method {label!r} sets {flag}, which learning_rate chooses")
    seeds: tuple[int, ...] = ()
    if len(choices) > 1:
        seeds = _seeds(f"{what}: learning_rate: seeds", merged.get("seeds"))
        shared = sorted(set(seeds) & set(arm.seeds))
        if shared:
            raise ValueError(
                f"{what}: learning_rate: seed {shared[0]} is one of the comparison's seeds; the rate is chosen on others"
            )
    given = None if "starts" in forced else merged.get("starts")
    starts = _texts(f"{what}: learning_rate: starts", given or list(arm.starts[:1]))
    _check_starts(f"{what}: learning_rate", starts)
    return LearningRate(flag, tuple(sorted(map(float, choices))), seeds, starts, by)


def _families(what: str, given: Any, methods: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """The families by name. Without any, each method is a family of its own."""
    if given is None:
        return {label: (label,) for label in methods}
    named = _mapping(what, given, "is `family: [methods]`")
    families = {family: _texts(f"{what}: {family!r}", members) for family, members in named.items()}
    of: dict[str, str] = {}
    for family, members in families.items():
        for label in members:
            _known(f"{what}: {family!r}: method", label, methods)
            if label in of:
                raise ValueError(f"{what}: method {label!r} is in two families, {of[label]!r} and {family!r}")
            of[label] = family
    for label in methods:
        if label not in of:
            raise ValueError(f"{what}: method {label!r} is in no family")
    return families


def _flags(what: str, given: Any) -> dict[str, Any]:
    """Flags without dashes, flat, under the names that the host gives them."""
    flat: dict[str, Any] = {}
    for key, value in _flatten(_mapping(what, given, "is `flag: value`"), ()):
        flag = ALIASES.get(key, key)
        if flag in flat:
            raise ValueError(f"{what}: {flag} is set twice")
        if flag in SET_HERE:
            raise ValueError(f"{what}: {flag} is set by {SET_HERE[flag]}; leave it out")
        if flag == "logger.wandb.key" and value != "env" or redacted(str(value)) != str(value):
            raise ValueError(f"{what}: {flag} holds a credential, which the results would keep; {KEPT_OUT}")
        flat[flag] = value
    return flat


def _flatten(given: dict[str, Any], above: tuple[str, ...]) -> Iterable[tuple[str, Any]]:
    for key, value in given.items():
        if isinstance(value, dict):
            yield from _flatten(value, (*above, key))
        else:
            yield ".".join((*above, key)), value


def _check_starts(what: str, starts: Iterable[str]) -> None:
    for start in starts:
        if not (Path(start) / "config.json").is_file():
            raise ValueError(
                f"{what}: start {start} is not a folder with a config.json; a shipped experiment says in its first lines what makes "
                "its starts (deltal recipes NAME), and --start takes other folders"
            )


def _mapping(what: str, given: Any, wanted: str) -> dict[str, Any]:
    """The given mapping; {} for None."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ValueError(f"{what} is {given!r}, wanted {wanted}")
    return given


def _check_keys(what: str, given: Any, known: Collection[str]) -> None:
    for key in _mapping(what, given, f"are keys ({', '.join(known)})"):
        _known(f"{what}: key", key, known)


def _texts(what: str, given: Any) -> tuple[str, ...]:
    if not isinstance(given, list | tuple) or not given or any(isinstance(v, list | dict | None) for v in given):
        raise ValueError(f"{what} is {given!r}, wanted is a list with at least one name")
    texts = tuple(map(str, given))
    for text in texts:
        if texts.count(text) > 1:
            raise ValueError(f"{what}: {text!r} is there twice")
    return texts


def _seeds(what: str, given: Any) -> tuple[int, ...]:
    whole = isinstance(given, list | tuple) and all(type(seed) is int and seed >= 0 for seed in given)
    if not whole or not given or len(set(given)) < len(given):
        raise ValueError(f"{what} is {given!r}, wanted is a list of different whole numbers, 0 or more")
    return tuple(given)


def _is_rate(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _known(what: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        hint = nearest(name, known) or f"known are {', '.join(known)}"
        raise ValueError(f"{what} {name!r} is unknown; {hint}")
