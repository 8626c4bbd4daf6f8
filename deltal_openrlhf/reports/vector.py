"""Figures as SVG that follow the reader's light or dark mode. The text stays text, and the file is a tenth of a PNG."""

import base64
import io
from contextlib import AbstractContextManager
from typing import Any

import matplotlib.style
from markupsafe import Markup
from matplotlib.figure import Figure

from deltal_openrlhf.reports.figures import STYLE
from deltal_openrlhf.reports.palette import RUNS

INK, SOFT, LINE = "#1a1a1a", "#595959", "#dddddd"
"""Colours of text, of ticks and of the grid, as figures draw them for a light page."""
_ON_DARK = {INK: "#e6e6e6", SOFT: "#a8a8a8", LINE: "#3a3f45", **RUNS}

_STYLE: dict[str, Any] = STYLE | {
    "svg.fonttype": "none",
    "svg.hashsalt": "deltal",  # equal data give equal bytes
    "font.family": ["DejaVu Sans", "sans-serif"],
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.edgecolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "grid.color": LINE,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
}


def drawing() -> AbstractContextManager:
    """As figures.drawing, in the colours that `svg` can turn dark."""
    return matplotlib.style.context(["default", _STYLE])


def svg(figure: Figure) -> str:
    """The figure as the text of an SVG file."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    head, tag, body = buffer.getvalue().partition("<svg ")
    attributes, end, content = body.partition(">")
    names = {light: f"--c{i}" for i, light in enumerate(_ON_DARK)}
    for light, name in names.items():
        content = content.replace(light, f"var({name})")
    light_values = ";".join(f"{name}:{light}" for light, name in names.items())
    dark_values = ";".join(f"{names[light]}:{dark}" for light, dark in _ON_DARK.items())
    css = f"<style>:root{{{light_values}}}@media (prefers-color-scheme: dark){{:root{{{dark_values}}}}}</style>"
    return tag + attributes + end + css + content


def picture(svg: str, alt: str, caption: str) -> Markup:
    """A figure of the page. As an image, so that no name of it meets one of another figure."""
    return Markup(
        '<figure><img src="data:image/svg+xml;base64,{}" alt="{}" width="480"><figcaption>{}</figcaption></figure>'
    ).format(base64.b64encode(svg.encode("utf-8")).decode("ascii"), alt, caption)
