"""The cases to compare: every loss in every cut, the host's features one at a time, and mistakes that have to be noticed."""

import itertools
from typing import Any

from deltal_openrlhf.parity.cases import Case

LOSSES: tuple[dict[str, Any], ...] = (
    {"mode": "token-mean"},
    {"mode": "seq-mean-token-mean"},
    {"mode": "seq-mean-token-sum-norm"},
    {"mode": "deltal", "scope": "step"},
    {"mode": "deltal", "scope": "rollout", "steps": 2},
    {"mode": "deltal", "scope": "group", "steps": 2},
)
FEATURES: tuple[dict[str, Any], ...] = (
    *(
        {"mode": mode, "dynamic": dynamic, "steps": 2, "filtering": filtering}
        for mode in ("prompt-mean", "balanced")
        for dynamic, filtering in ((False, False), (True, True))
    ),
    *(
        {"mode": mode, "gspo": True, "dynamic": dynamic}
        for mode in ("deltal", "seq-mean-token-sum-norm")
        for dynamic in (False, True)
    ),
    {"kl": True},
    {"entropy": True},
    {"dual_clip": 3.0},
    {"correction": "token"},
    {"correction": "seq"},
    {"lora": True},
    {"ema": True},
    {"holes": True},
    {"epochs": 2},
    {"steps": 2},
    {"filtering": True},
    {"packing": True},
    {"filtering": True, "kl": True, "entropy": True},
    {"steps": 2, "epochs": 2, "zero": 1},
    {"steps": 2, "epochs": 2, "zero": 1, "dynamic": True},
)
SHORT = (Case(world=1, micro=2, steps=2, short=True), Case(world=2, micro=2, steps=2, short=True, zero=3))
"""Rollouts that fall short."""
MISTAKES = ("micro-batch", "scale")


def losses(world: int) -> list[Case]:
    """All modes and scopes x micro batch 1, 2, 4 x ZeRO 0 to 3 x static and dynamic + packed, each with one empty response."""
    return [
        Case(world=world, micro=micro, zero=zero, dynamic=dynamic, **loss)
        for loss, micro, zero, dynamic in itertools.product(LOSSES, (1, 2, 4), range(4), (False, True))
    ]


def features(world: int) -> list[Case]:
    cases = [Case(world=world, **{"micro": 2, **feature}) for feature in FEATURES]
    return cases + [case for case in SHORT if case.world == world]


def controls(world: int) -> list[Case]:
    """Negative controls: each makes one mistake on purpose."""
    return [Case(world=world, micro=2, wrong=wrong) for wrong in MISTAKES]


def most_telling_first(world: int) -> list[Case]:
    """All of the above: ∆L in a plain cut, the controls, the features, ∆L in every cut, and the other losses."""
    first = Case(mode="deltal", scope="step", world=world, micro=2)
    rest = sorted(losses(world), key=lambda case: (case.mode != "deltal", case.scope != "step", case.micro != 2))
    return list(dict.fromkeys([first, *controls(world), *features(world), *rest]))
