"""The charts that show several runs together."""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from dyhead.evaluation.measures.error_kinds import ErrorKind
from dyhead.run_report.charts import (
    SIZE,
    TEXT,
    Chart,
    hex_color,
    legend_label,
    put_legend_below,
)
from dyhead.run_report.collect import RunReport
from dyhead.run_report.data_of_runs import DataOfRuns
from dyhead.run_report.evaluation import Evaluation
from dyhead.run_report.run_charts import KIND_NAMES
from dyhead.visualization.curves import Curve, finish_axes
from dyhead.visualization.text import one_line, shorten

_LINES = ("-", "--", "-.", ":")
_HATCHES = ("", "//", "..", "xx", "\\\\")
_NAME_WIDTH = 28  # characters of a line of the legend
_NAME_LENGTH = 4 * _NAME_WIDTH  # the page has longer names whole
_COLUMNS = 2  # of the legend
_ROOM = 1.08  # of the axis, above the highest value
_LINE_HEIGHT = 0.17  # inches, of the legend
_MAX_MARKED = 20  # points of a curve that are marked


def comparison_charts(runs: Sequence[RunReport], data: DataOfRuns) -> Iterator[Chart]:
    """Draw loss and AP by step, AP by IoU and the kinds of errors of runs of the same data.

    Runs of other data are in a chart of their own; one that is alone with its data is in none.

    Args:
        runs: at least two; each has one colour in all charts.
        data: of these runs.
    """
    trained = [index for index, run in enumerate(runs) if run.log is not None]
    for prefix, group in _several(data.trained_alike(trained)):
        losses = _curves(group, runs, _total_loss)
        texts = "Total loss of the runs by step.", "Training loss", "total loss"
        yield from _chart_of_curves(f"{prefix}-loss", losses, *texts)
    sets = data.test_sets
    for dataset in sets:
        name, of_set = (f"ap-{dataset}", f" on {dataset}") if len(sets) > 1 else ("ap", "")
        for prefix, group in _several(data.tested_alike(dataset, trained)):
            curves = _curves(group, runs, partial(_ap, dataset))
            texts = f"AP of the runs{of_set} by step.", "Box AP", "AP (%)"
            yield from _chart_of_curves(f"{prefix}-{name}", curves, *texts)
    for dataset in data.evaluated_sets:
        evaluated = [i for i, tested in enumerate(data.tested_on(dataset)) if tested is not None]
        for prefix, group in _several(data.tested_alike(dataset, evaluated)):
            shown = [Shown(i, runs[i].name, runs[i].evaluations[dataset][1]) for i in group]
            yield from _dataset_charts(prefix, dataset, shown)


class Shown(NamedTuple):
    """A run in a chart: its colour, which is its index, its name and its measures."""

    color: int
    name: str
    measured: Evaluation


class ShownCurve(NamedTuple):
    """A run in a chart of curves, with its curve."""

    color: int
    name: str
    curve: Curve


def _several(groups: Iterable[list[int]]) -> Iterator[tuple[str, list[int]]]:
    """Yield the groups of several runs, with what the names of their charts begin with."""
    several = (group for group in groups if len(group) > 1)
    for number, group in enumerate(several, start=1):
        yield "runs" if number == 1 else f"runs{number}", group


def _total_loss(run: RunReport) -> Curve | None:
    return None if run.log is None else run.log.losses.get("total_loss")


def _ap(dataset: str, run: RunReport) -> Curve | None:
    """Return the AP by step, which has the data set's name where there are several."""
    if run.log is None:
        return None
    name = "bbox/AP" if len(run.cfg.DATASETS.TEST) == 1 else f"{dataset}/bbox/AP"
    return run.log.precisions.get(name)


def _curves(
    group: Sequence[int], runs: Sequence[RunReport], read: Callable[[RunReport], Curve | None]
) -> list[ShownCurve]:
    found = ((index, read(runs[index])) for index in group)
    return [
        ShownCurve(index, runs[index].name, curve)
        for index, curve in found
        if curve is not None and curve[0]
    ]


def _chart_of_curves(
    name: str, curves: Sequence[ShownCurve], caption: str, title: str, label: str
) -> Iterator[Chart]:
    """Yield a chart, unless none of its runs has recorded anything."""
    if curves:
        width, height = SIZE
        size = width, height + _legend_height(each.name for each in curves)
        yield Chart(name, caption, partial(_draw_curves, curves, title, label), size)


def _dataset_charts(prefix: str, dataset: str, shown: Sequence[Shown]) -> Iterator[Chart]:
    width, height = SIZE
    legend = _legend_height(each.name for each in shown)
    yield Chart(
        f"{prefix}-ap-by-iou-{dataset}",
        f"AP on {dataset} by the IoU from which on a box counts as found.",
        partial(_by_iou, shown),
        (width, height + legend),
    )
    yield Chart(
        f"{prefix}-errors-{dataset}",
        f"AP50 on {dataset} that each kind of error costs.",
        partial(_errors, shown),
        (width, max(0.18 * len(ErrorKind) * len(shown) + 1.2, 3.0) + legend),
    )


def _draw_curves(curves: Sequence[ShownCurve], title: str, label: str, axes: Axes) -> None:
    for color, name, curve in curves:
        marker = "o" if len(curve[0]) <= _MAX_MARKED else ""  # one point is no line
        axes.plot(*curve, marker=marker, **_style(color, name))
    finish_axes(axes, title, label, True)
    highest = max(max(each.curve[1]) for each in curves)
    axes.set_ylim(0, _ROOM * highest if highest > 0 else 1)
    put_legend_below(axes, _COLUMNS)


def _wrapped(name: str) -> str:
    """Break a run's name into lines."""
    lines = textwrap.wrap(shorten(one_line(name), _NAME_LENGTH), _NAME_WIDTH)
    return legend_label("\n".join(lines))


def _legend_height(names: Iterable[str]) -> float:
    """Estimate the height of a legend, in inches."""
    lines = [_wrapped(name).count("\n") + 1 for name in names]
    return _LINE_HEIGHT * max(lines) * -(-len(lines) // _COLUMNS)


def _style(index: int, name: str) -> dict[str, Any]:
    return {
        "color": hex_color(index),
        "linestyle": _LINES[index % len(_LINES)],
        "label": _wrapped(name),
    }


def _by_iou(shown: Sequence[Shown], axes: Axes) -> None:
    for index, name, each in shown:
        axes.plot(each.scores.ious, each.scores.by_iou["all"], marker="o", **_style(index, name))
    finish_axes(axes, "AP by IoU", "AP (%)", True)
    axes.set(xlim=(0.48, 0.97), ylim=(0, 100), xlabel="IoU")
    put_legend_below(axes, _COLUMNS)


def _errors(shown: Sequence[Shown], axes: Axes) -> None:
    kinds = list(ErrorKind)
    height = 0.8 / len(shown)
    for row, (index, name, each) in enumerate(shown):
        places = np.arange(len(kinds)) - 0.4 + height * (row + 0.5)
        axes.barh(
            places,
            [each.costs.kinds[kind].gain for kind in kinds],
            height,
            color=hex_color(index),
            edgecolor=TEXT,
            linewidth=0.6,
            hatch=_HATCHES[index % len(_HATCHES)],
            label=_wrapped(name),
        )
    axes.set_yticks(np.arange(len(kinds)), KIND_NAMES)
    axes.invert_yaxis()
    axes.set_title("Kinds of errors")
    axes.set_xlabel("AP50 that it costs")
    put_legend_below(axes, _COLUMNS)
