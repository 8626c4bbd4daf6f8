"""Names of curves at their ends: read where the eye is, and by any colour vision. A thin line joins each name to its curve."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from scipy.optimize import isotonic_regression

SIZE = 9.5


class End(NamedTuple):
    """The last point of a curve."""

    name: str
    x: float
    y: float
    color: str


def name_ends(axes: Axes, ends: Sequence[End], *, height: float, at: float = 1.05, ink: str = "black") -> None:
    """Write each name to the right of its curve; names that would meet are moved apart. The axes have their final limits.

    height: of the axes in inches. at: where the names begin, as a share of the axes' width.
    """
    gap = 1.2 * SIZE / 72 / height
    to_axes = axes.transData + axes.transAxes.inverted()
    placed = sorted((min(max(float(to_axes.transform((end.x, end.y))[1]), 0.0), 1.0), end) for end in ends)
    heights = spread([share for share, _ in placed], gap)
    for share, (_, end) in zip(heights, placed, strict=True):
        axes.annotate(
            end.name,
            xy=(end.x, end.y),
            xytext=(at, share),
            textcoords="axes fraction",
            va="center",
            fontsize=SIZE,
            color=ink,
            arrowprops={
                "arrowstyle": "-",
                "color": end.color,
                "linewidth": 1,
                "shrinkA": 1,
                "shrinkB": 4,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Sorted places in 0 to 1, moved as little as keeps them `gap` apart (least squares)."""
    if not places:
        return []
    steps = gap * np.arange(len(places))
    moved = isotonic_regression(np.asarray(places) - steps).x
    return (np.clip(moved, 0.0, max(0.0, 1.0 - steps[-1])) + steps).tolist()
