"""The charts that show several runs together."""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dyhead.evaluation.measures.error_kinds import ErrorKind
from dyhead.run_report.charts import SIZE, TEXT, Chart, hex_color, put_legend_below
from dyhead.run_report.collect import RunReport
from dyhead.run_report.evaluation import Evaluation
from dyhead.run_report.run_charts import KIND_NAMES
from dyhead.run_report.training_log import TrainingLog
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


def comparison_charts(runs: Sequence[RunReport]) -> Iterator[Chart]:
    """Draw loss and AP by step, AP by IoU and the kinds of errors of all runs."""
    trained = [run for run in runs if run.log is not None]
    if trained:
        size = SIZE[0], SIZE[1] + _legend_height(run.name for run in trained)
        losses = partial(_curves, trained, lambda log: log.losses.get("total_loss"))
        yield Chart(
            "runs-loss",
            "Total loss of the runs by step.",
            partial(_finished, losses, "Training loss", "total loss"),
            size,
        )
        precisions = partial(_curves, trained, _ap)
        yield Chart(
            "runs-ap",
            "AP of the runs by step.",
            partial(_finished, precisions, "Box AP", "AP (%)"),
            size,
        )
    for dataset in dict.fromkeys(name for run in runs for name in run.evaluations):
        measured = {
            run.name: run.evaluations[dataset][1] for run in runs if dataset in run.evaluations
        }
        yield from _dataset_charts(dataset, measured)


def _dataset_charts(dataset: str, measured: dict[str, Evaluation]) -> Iterator[Chart]:
    width, height = SIZE
    legend = _legend_height(measured)
    yield Chart(
        f"runs-ap-by-iou-{dataset}",
        f"AP on {dataset} by the IoU from which on a box counts as found.",
        partial(_by_iou, measured),
        (width, height + legend),
    )
    yield Chart(
        f"runs-errors-{dataset}",
        f"AP50 on {dataset} that each kind of error costs.",
        partial(_errors, measured),
        (width, max(0.18 * len(ErrorKind) * len(measured) + 1.2, 3.0) + legend),
    )


def _ap(log: TrainingLog) -> Curve | None:
    return next((curve for name, curve in log.precisions.items() if name.endswith("/AP")), None)


def _curves(
    runs: Sequence[RunReport], read: Callable[[TrainingLog], Curve | None], axes: Axes
) -> None:
    for index, run in enumerate(runs):
        curve = None if run.log is None else read(run.log)
        if curve is not None:
            marker = "o" if len(curve[0]) <= _MAX_MARKED else ""  # one point is no line
            axes.plot(*curve, marker=marker, **_style(index, run.name))


def _finished(draw: Callable[[Axes], None], title: str, label: str, axes: Axes) -> None:
    draw(axes)
    has_lines = bool(axes.lines)
    finish_axes(axes, title, label, has_lines)
    axes.set_ylim(0, _ROOM * axes.dataLim.y1 if has_lines else 1)
    if has_lines:
        put_legend_below(axes, _COLUMNS)


def _wrapped(name: str) -> str:
    """Break a run's name into lines."""
    return "\n".join(textwrap.wrap(shorten(one_line(name), _NAME_LENGTH), _NAME_WIDTH))


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


def _by_iou(measured: dict[str, Evaluation], axes: Axes) -> None:
    for index, (name, each) in enumerate(measured.items()):
        axes.plot(each.scores.ious, each.scores.by_iou["all"], marker="o", **_style(index, name))
    finish_axes(axes, "AP by IoU", "AP (%)", True)
    axes.set(xlim=(0.48, 0.97), ylim=(0, 100), xlabel="IoU")
    put_legend_below(axes, _COLUMNS)


def _errors(measured: dict[str, Evaluation], axes: Axes) -> None:
    kinds = list(ErrorKind)
    height = 0.8 / len(measured)
    for index, (name, each) in enumerate(measured.items()):
        places = np.arange(len(kinds)) - 0.4 + height * (index + 0.5)
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
