"""The charts that show several runs together."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dyhead.evaluation.measures.error_kinds import ErrorKind
from dyhead.run_report.charts import TEXT, Chart, hex_color
from dyhead.run_report.collect import RunReport
from dyhead.run_report.evaluation import Evaluation
from dyhead.run_report.run_charts import KIND_NAMES
from dyhead.run_report.training_log import TrainingLog
from dyhead.visualization.curves import Curve, finish_axes
from dyhead.visualization.text import shorten

_LINES = ("-", "--", "-.", ":")
_HATCHES = ("", "//", "..", "xx", "\\\\")
_NAME_LENGTH = 22
_MAX_MARKED = 20  # points of a curve that are marked


def comparison_charts(runs: Sequence[RunReport]) -> Iterator[Chart]:
    """Draw loss and AP by step, AP by IoU and the kinds of errors of all runs."""
    trained = [run for run in runs if run.log is not None]
    if trained:
        losses = partial(_curves, trained, lambda log: log.losses.get("total_loss"))
        yield Chart(
            "runs-loss",
            "Total loss of the runs by step.",
            partial(_finished, losses, "Training loss", "total loss"),
        )
        precisions = partial(_curves, trained, _ap)
        yield Chart(
            "runs-ap",
            "AP of the runs by step.",
            partial(_finished, precisions, "Box AP", "AP (%)"),
        )
    for dataset in dict.fromkeys(name for run in runs for name in run.evaluations):
        measured = {
            run.name: run.evaluations[dataset][1] for run in runs if dataset in run.evaluations
        }
        yield Chart(
            f"runs-ap-by-iou-{dataset}",
            f"AP on {dataset} by the IoU from which on a box counts as found.",
            partial(_by_iou, measured),
        )
        yield Chart(
            f"runs-errors-{dataset}",
            f"AP50 on {dataset} that each kind of error costs.",
            partial(_errors, measured),
            (5.6, max(0.3 * 6 * len(measured) * 0.6 + 1.2, 3.0)),
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
    finish_axes(axes, title, label, bool(axes.lines))
    axes.set_ylim(bottom=0)


def _style(index: int, name: str) -> dict[str, Any]:
    return {
        "color": hex_color(index),
        "linestyle": _LINES[index % len(_LINES)],
        "label": shorten(name, _NAME_LENGTH),
    }


def _by_iou(measured: dict[str, Evaluation], axes: Axes) -> None:
    for index, (name, each) in enumerate(measured.items()):
        axes.plot(each.scores.ious, each.scores.by_iou["all"], marker="o", **_style(index, name))
    finish_axes(axes, "AP by IoU", "AP (%)", True)
    axes.set(xlim=(0.48, 0.97), ylim=(0, 100), xlabel="IoU")


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
            label=shorten(name, _NAME_LENGTH),
        )
    axes.set_yticks(np.arange(len(kinds)), KIND_NAMES)
    axes.invert_yaxis()
    axes.set_title("Kinds of errors")
    axes.set_xlabel("AP50 that it costs")
    axes.legend()
