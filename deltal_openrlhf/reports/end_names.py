"""Names of curves at their ends: read where the eye is, and by any colour vision. A thin line joins each name to its curve."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

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
            arrowprops={"arrowstyle": "-", "color": end.color, "linewidth": 1, "shrinkA": 1, "shrinkB": 4},
            annotation_clip=False,
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Sorted places in 0 to 1, moved as little upwards and then downwards as keeps them `gap` apart."""
    found = list(places)
    for i in range(1, len(found)):
        found[i] = max(found[i], found[i - 1] + gap)
    found[-1:] = [min(place, max(1.0, gap * (len(found) - 1))) for place in found[-1:]]
    for i in reversed(range(len(found) - 1)):
        found[i] = min(found[i], found[i + 1] - gap)
    return found
