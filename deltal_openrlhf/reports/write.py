"""The files of a report."""

from collections.abc import Iterable
from pathlib import Path

from deltal_openrlhf.reports.figures import NoPlot, Plot
from deltal_openrlhf.runs.files import write_all_atomically


def write_page(folder: Path, html: str, plots: Iterable[Plot | NoPlot]) -> None:
    """Write folder/report.html and folder/plots/<name>.png, all or none."""
    files = {Path(folder) / "plots" / f"{plot.name}.png": plot.png for plot in plots if isinstance(plot, Plot)}
    write_all_atomically({**files, Path(folder) / "report.html": html.encode("utf-8")})
