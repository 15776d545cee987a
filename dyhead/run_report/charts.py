"""Charts as matplotlib figures, written as PNG files and as SVG that takes the page's colours."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dyhead.visualization.colors import class_colors, css_color

TEXT, LINE = "#1a1b1c", "#cacbcc"  # in SVG they become the page's colours of text and lines
_PAGE_COLORS = {TEXT: "var(--text)", "#000000": "var(--text)", LINE: "var(--line)"}
SIZE = (5.6, 3.7)  # inches
_SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.titlesize": 14,
    "axes.labelsize": 12,
    "legend.fontsize": 9,
    "legend.framealpha": 0.0,
    "svg.fonttype": "none",  # text that the reader's browser draws, and that can be searched
    "axes.spines.top": False,
    "axes.spines.right": False,
    **{
        key: TEXT
        for key in ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    },
    "grid.color": LINE,
    "text.parse_math": False,  # names may have dollars
    "axes.axisbelow": True,
}


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        name: of its PNG, without the ending; unique in a report.
        caption: what it shows, a sentence.
        draw: draws it into the only axes of a figure.
        size: in inches.
    """

    name: str
    caption: str
    draw: Callable[[Axes], None]
    size: tuple[float, float] = SIZE


def write_png(chart: Chart, path: Path) -> None:
    """Write a chart on a white ground.

    Raises:
        OSError: the file cannot be written.
    """
    with rc_context(_SETTINGS):
        figure = _figure(chart)
        figure.savefig(path, dpi=130, facecolor="white")


def as_svg(chart: Chart) -> str:
    """Return a chart as an element of a page, without ground, in the page's colours."""
    file = io.StringIO()
    with rc_context({**_SETTINGS, "svg.hashsalt": chart.name}):
        _figure(chart).savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    for color, of_page in _PAGE_COLORS.items():
        svg = svg.replace(color, of_page)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 system-ui, sans-serif", svg)
    head = re.sub(r' (width|height)="[^"]*"', "", svg[: svg.index(">") + 1])
    return head.replace("<svg", '<svg class="chart-svg" role="img"', 1) + svg[svg.index(">") + 1 :]


def put_legend_below(axes: Axes, columns: int) -> None:
    """Put the legend where it hides no curve."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=columns)


def legend_label(name: str) -> str:
    """Return a name as a legend shows it: matplotlib leaves out labels that begin with "_"."""
    return f" {name}" if name.startswith("_") else name


def hex_color(index: int) -> str:
    """Return the colour of a class or a run, "#rrggbb"."""
    return css_color(class_colors(index + 1)[index])


def _figure(chart: Chart) -> Figure:
    figure = Figure(figsize=chart.size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_prop_cycle(color=[hex_color(i) for i in range(7)])
    chart.draw(axes)
    return figure
