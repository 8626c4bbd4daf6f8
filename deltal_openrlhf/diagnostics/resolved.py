"""What a plot does with rows that the data do not resolve: it leaves them out and says how many they are."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from deltal_openrlhf.reports import figures
from deltal_openrlhf.reports.figures import NoPlot, Plot, no_plot
from deltal_openrlhf.reports.numbers import EstimateJson, is_missing


def shown(estimate: EstimateJson | None) -> EstimateJson | None:
    """The estimate if it is resolved, None otherwise."""
    return estimate if estimate is not None and estimate["resolved"] else None


def finished(figure: Figure, name: str, alt: str, caption: str, estimates: Sequence[EstimateJson | None]) -> Plot:
    """The plot, with one note of the rows that it leaves out: "3 of 24 rows are not resolved.", below its title and in its alt text.

    estimates: those of all rows, None for one that is left out for another reason. The other arguments are Plot's.
    """
    hidden = sum(shown(estimate) is None for estimate in estimates)
    if hidden:
        note = f"{hidden} of {len(estimates)} rows {'is' if hidden == 1 else 'are'} not resolved."
        figure.suptitle(f"{figure.get_suptitle()}\n{note}", x=0.02, ha="left")
        figure.set_figheight(figure.get_figheight() + 0.18)
        alt = f"{alt} {note}"
    return Plot(name, figures.png(figure), alt, caption)


def left_out(title: str, estimates: Sequence[EstimateJson | None]) -> NoPlot | None:
    """The sentence in place of a plot none of whose rows is resolved; None if one is. title: may have several lines."""
    if any(shown(estimate) is not None for estimate in estimates):
        return None
    if all(map(is_missing, estimates)):
        return no_plot(title)
    return NoPlot(f"Left out, for none of its {len(estimates)} rows is resolved: {' '.join(title.split())}.")
