"""One colour and one marker for each method, the same in all plots of all reports.

The colours of Okabe and Ito (https://jfly.uni-koeln.de/color/), told apart with any colour vision; the marker tells them apart without any.
"""

import itertools
from collections.abc import Iterable
from typing import NamedTuple


class Look(NamedTuple):
    color: str
    marker: str


BLACK, GREEN, ORANGE, BLUE = Look("#000000", "s"), Look("#009E73", "^"), Look("#E69F00", "v"), Look("#0072B2", "o")
VERMILION, PURPLE, SKY, GREY = Look("#D55E00", "D"), Look("#CC79A7", "P"), Look("#56B4E9", "p"), Look("#7F7F7F", "d")

FIXED = {
    "Dr. GRPO norm": BLACK,
    "GRPO norm": GREEN,
    "DAPO norm": ORANGE,
    "∆L 1": BLUE,
    "∆L 0.75": VERMILION,
    "∆L 0.5": PURPLE,
    "∆L 0.25": SKY,
}

SCOPES = {"step": BLUE, "rollout": VERMILION, "group": PURPLE}
"""∆L by scope, where the values of alpha stand side by side."""

OTHERS = (SKY, VERMILION, PURPLE, BLUE, GREY, GREEN, ORANGE, BLACK)
"""For methods of other names, in this order, first those that no method of the report has."""

_MORE_MARKERS = "*<>hX"


def looks(names: Iterable[str]) -> dict[str, Look]:
    """The look of every method: fixed for the known ones, the next free one for others. More than eight share colours, not markers."""
    unique = list(dict.fromkeys(names))
    free = [look for look in OTHERS if look not in [FIXED.get(name) for name in unique]]
    more = [Look(look.color, marker) for marker in _MORE_MARKERS for look in OTHERS]
    others = itertools.chain(free, itertools.cycle(more))
    return {name: FIXED.get(name) or next(others) for name in unique}


RUNS = {
    "#0072b2": "#5bb0e8",
    "#d55e00": "#ff9248",
    "#00805d": "#3ecfa0",
    "#aa3377": "#e58abf",
    "#8a6d00": "#d9b83a",
    "#6b6b6b": "#b0b0b0",
    "#332288": "#a99cf0",
    "#661100": "#e08a7a",
}
"""Colours of runs: on a light page -> on a dark page. Each has a contrast of 3 and more to its page."""
