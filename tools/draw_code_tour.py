"""Draw the data's way through the code: `python tools/draw_code_tour.py` (half a minute).

The way is traced (`trace_data.py`). Time goes down the picture; the column says when the files are
reached: in training, in evaluation or in both.
"""

import argparse
import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from PIL import Image
from trace_data import trace_tiny_detector

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

PROJECT = Path(__file__).parents[1]
TARGET = PROJECT / "docs" / "images" / "code_tour.png"
# The colours of Okabe and Ito (2008), which the colour-blind tell apart, on white.
TRAINING, BOTH, EVALUATION, INK = "#E69F00", "#56B4E9", "#009E73", "#222222"
COLUMNS = {TRAINING: "training only", BOTH: "both", EVALUATION: "evaluation only"}
WIDTH, GAP = 3.1, 0.25  # of a column, and between two boxes; everything in inches
LINE, PADDING = 0.165, 0.08
LETTERS = 47  # of a line


class Station(NamedTuple):
    """A package with those of its files that data reach in one column."""

    column: str
    package: str
    files: list[str]
    summary: str = ""

    def lines(self) -> list[tuple[str, str]]:
        """Return the style and the text of the lines below the package's name."""
        texts = {"italic": self.summary, "normal": ", ".join(self.files)}
        return [
            (style, line)
            for style, text in texts.items()
            for line in textwrap.wrap(text, LETTERS, break_on_hyphens=False)
        ]

    def height(self) -> float:
        """Compute the height of the station's box."""
        return 2 * PADDING + LINE * (1 + len(self.lines()))


class Place(NamedTuple):
    """The box of a station on the picture; y grows downwards."""

    station: Station
    x: float
    y: float

    @property
    def bottom(self) -> float:
        """The y of the lower edge."""
        return self.y + self.station.height()


def stations(training: list[str], evaluation: list[str]) -> list[Station]:
    """Group traced files by column and package, in the order in which data reach them.

    A package stands once in the middle, and at each side once between two stations of the middle;
    the first time with the first sentence of its docstring.
    """
    found: dict[tuple[str, str, int], list[str]] = {}
    for file in _merge(training, evaluation):
        alone = TRAINING if file in training else EVALUATION
        column = BOTH if file in training and file in evaluation else alone
        num_in_middle = sum(key[0] == BOTH for key in found)
        key = (column, _package(file), 0 if column == BOTH else num_in_middle)
        found.setdefault(key, []).append(file.removeprefix(f"{_package(file)}/"))
    summaries = {package: _summary(package) for _, package, _ in found}
    return [
        Station(column, package, files, summaries.pop(package, ""))
        for (column, package, _), files in found.items()
    ]


def _merge(training: list[str], evaluation: list[str]) -> list[str]:
    """Insert the files of evaluation alone behind all that evaluation reached before them."""
    merged = list(training)
    position = 0
    for file in evaluation:
        if file in merged:
            position = max(position, merged.index(file) + 1)
        else:
            merged.insert(position, file)
            position += 1
    return merged


def _package(file: str) -> str:
    """Name the package that a file is shown in: of the host and of the models a part of it."""
    parts = Path(file).parent.parts
    depth = 2 if parts and parts[0] in ("d2", "modeling") else 1
    return "/".join(parts[:depth])


def _summary(package: str) -> str:
    """Return the first sentence of a package's docstring, or "" of the whole and of Detectron2."""
    source = PROJECT / "dyhead" / package / "__init__.py"
    if not package or not source.is_file():
        return ""
    docstring = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return docstring.split(".\n")[0].replace("\n", " ").rstrip(".")


def place(way: list[Station]) -> list[Place]:
    """Stack the boxes: what both reach stands below all before it, the rest beside each other."""
    bottoms = dict.fromkeys(COLUMNS, 0.0)
    places = []
    for station in way:
        above = COLUMNS if station.column == BOTH else (station.column, BOTH)
        x = list(COLUMNS).index(station.column) * (WIDTH + GAP)
        places.append(Place(station, x, max(bottoms[column] for column in above) + GAP))
        bottoms[station.column] = places[-1].bottom
    return places


def arrows(places: list[Place]) -> Iterator[tuple[Place, Place]]:
    """Yield the pairs of boxes that follow each other in training or in evaluation."""
    ways = [
        [place for place in places if place.station.column in (column, BOTH)]
        for column in (TRAINING, EVALUATION)
    ]
    training, evaluation = (list(zip(way[:-1], way[1:], strict=True)) for way in ways)
    yield from training
    yield from (pair for pair in evaluation if pair not in training)


def draw_box(axes: Any, place: Place) -> None:
    """Draw a package: its name, what it is, its files."""
    station = place.station
    box = FancyBboxPatch(
        (place.x, place.y),
        WIDTH,
        station.height(),
        boxstyle="round,pad=0,rounding_size=0.06",
        facecolor=station.column,
        edgecolor=INK,
        alpha=0.3,
    )
    axes.add_patch(box)
    name = f"dyhead/{station.package}".rstrip("/")
    x, y = place.x + PADDING, place.y + PADDING + LINE / 2
    axes.text(x, y, name, va="center", fontsize=9, weight="bold", color=INK)
    for number, (style, line) in enumerate(station.lines(), start=1):
        axes.text(x, y + number * LINE, line, va="center", fontsize=8, style=style, color=INK)


def draw_arrow(axes: Any, start: Place, end: Place) -> None:
    """Draw an arrow from a box's lower to another's upper edge."""
    side = (end.x > start.x) - (end.x < start.x)
    tail = start.x + WIDTH * (0.5 + 0.35 * side), start.bottom
    head = end.x + WIDTH * (0.5 - 0.35 * side), end.y
    look = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=head, xytext=tail, arrowprops=look)


def draw(way: list[Station], path: Path) -> None:
    """Draw the way and write the picture."""
    figure = plot(way)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, facecolor="white")
    pyplot.close(figure)
    Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)  # a third of the size


def plot(way: list[Station]) -> Figure:
    """Draw the way."""
    places = place(way)
    width, height = 3 * WIDTH + 2 * GAP, max(place.bottom for place in places)
    figure, axes = pyplot.subplots(figsize=(width + 0.2, height + 0.3), dpi=110)
    axes.set(xlim=(-0.1, width + 0.1), ylim=(height + 0.1, -0.2))
    axes.set_position((0, 0, 1, 1))
    axes.axis("off")
    for number, title in enumerate(COLUMNS.values()):
        x = number * (WIDTH + GAP) + WIDTH / 2
        axes.text(x, 0, title, ha="center", va="center", fontsize=11, weight="bold", color=INK)
    for each in places:
        draw_box(axes, each)
    for start, end in arrows(places):
        draw_arrow(axes, start, end)
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=TARGET)
    draw(stations(*trace_tiny_detector()), parser.parse_args().output)
