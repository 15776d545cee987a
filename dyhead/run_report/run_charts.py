"""The charts of one run: its training, and its detections on a data set."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from dyhead.evaluation.measures.error_kinds import ErrorKind
from dyhead.evaluation.measures.precision_recall import Curve, thinned
from dyhead.run_report.charts import (
    LINE,
    TEXT,
    Chart,
    hex_color,
    legend_label,
    put_legend_below,
)
from dyhead.run_report.evaluation import Evaluation
from dyhead.run_report.training_log import TrainingLog
from dyhead.visualization.colors import text_color
from dyhead.visualization.curves import draw_losses, draw_precisions, finish_axes
from dyhead.visualization.text import shorten

KIND_NAMES = [kind.label.replace(" and ", "\nand ") for kind in ErrorKind]  # on two lines
_MAX_COLORED = 10  # classes that have a colour and a line of the legend
_MAX_BARS = 30  # classes
_MAX_NUMBERED = 12  # classes whose confusions are written as numbers
_MAX_NAMED = 40  # classes whose names stand beside the matrix
_NAME_LENGTH = 16
_SHARES = colormaps["cividis"]
_OUTLINE = (withStroke(linewidth=3.2, foreground=TEXT, alpha=0.55),)  # yellow on white is seen


def training_charts(log: TrainingLog, prefix: str = "") -> Iterator[Chart]:
    """Draw losses, learning rate and AP by step."""
    yield Chart(
        f"{prefix}losses",
        "Losses of the training, smoothed over 20 steps.",
        partial(_losses, log),
    )
    if log.rates:
        yield Chart(f"{prefix}learning-rate", "Learning rate by step.", partial(_rates, log))
    if log.precisions:
        yield Chart(
            f"{prefix}ap",
            "AP of each evaluation during the training.",
            partial(_precisions, log),
        )


def evaluation_charts(measured: Evaluation, prefix: str = "") -> Iterator[Chart]:
    """Draw AP, precision, errors, calibration and confusion of one data set."""
    yield from _charts_of_scores(measured, prefix)
    yield from _charts_of_errors(measured, prefix)


def _charts_of_scores(measured: Evaluation, prefix: str) -> Iterator[Chart]:
    yield Chart(
        f"{prefix}ap-by-class",
        "AP of each class with objects, the lowest first."
        + (f" The lowest {_MAX_BARS}." if len(measured.curves) > _MAX_BARS else ""),
        partial(_ap_by_class, measured),
        (5.6, max(0.3 * min(len(measured.curves), _MAX_BARS) + 1.2, 2.4)),
    )
    yield Chart(
        f"{prefix}ap-by-iou",
        "AP by the IoU from which on a box counts as found: steep where boxes are imprecise.",
        partial(_ap_by_iou, measured),
    )
    yield Chart(
        f"{prefix}precision-recall",
        "Precision and recall at an IoU of 0.5; the dots have the best F1.",
        partial(_precision_recall, measured),
        (5.6, 4.4),
    )
    yield Chart(
        f"{prefix}f1",
        "F1 by score threshold at an IoU of 0.5; the dots are the best thresholds.",
        partial(_f1, measured),
        (5.6, 4.4),
    )


def _charts_of_errors(measured: Evaluation, prefix: str) -> Iterator[Chart]:
    yield Chart(
        f"{prefix}errors",
        "AP50 that would be gained if a kind of error was repaired; gains do not add up.",
        partial(_errors, measured),
        (5.6, 2.8),
    )
    yield Chart(
        f"{prefix}calibration",
        "Precision of detections by their score. Bars below the line: scores promise too much;"
        " above it: too little.",
        partial(_calibration, measured),
    )
    side = min(max(0.42 * len(measured.curves) + 2.4, 4.4), 9.0)
    yield Chart(
        f"{prefix}confusion",
        "Objects by their class (rows) and what they are detected as (columns), as shares of the"
        " row. The last column: not detected. The last row: nothing is there.",
        partial(_confusion, measured),
        (side + 0.8, side),
    )


def _losses(log: TrainingLog, axes: Axes) -> None:
    draw_losses(axes, log.losses)
    put_legend_below(axes, 3)


def _precisions(log: TrainingLog, axes: Axes) -> None:
    draw_precisions(axes, log.precisions)
    put_legend_below(axes, 2)


def _rates(log: TrainingLog, axes: Axes) -> None:
    for name, curve in log.rates.items():
        axes.plot(*curve, label=name, color=hex_color(6), linewidth=2)
    finish_axes(axes, "Learning rate", "rate", True)
    axes.set_ylim(bottom=0)
    axes.legend().remove()  # there is one curve


def _ap_by_class(measured: Evaluation, axes: Axes) -> None:
    values = [row["AP"] for row in measured.scores.by_class]
    order = sorted((i for i, v in enumerate(values) if math.isfinite(v)), key=lambda i: values[i])
    shown = order[:_MAX_BARS]
    names = [shorten(measured.evaluated.class_names[i], _NAME_LENGTH) for i in shown]
    places = range(len(shown))
    colors = [hex_color(i) for i in shown]
    axes.barh(places, [values[i] for i in shown], color=colors, edgecolor=TEXT, linewidth=0.6)
    for place, index in zip(places, shown, strict=True):
        axes.text(values[index] + 1, place, f"{values[index]:.1f}", va="center", fontsize=9)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xlim(0, 105)
    axes.set_title("AP by class")
    axes.set_xlabel("AP (%)")


def _ap_by_iou(measured: Evaluation, axes: Axes) -> None:
    styles = {"all": ("-", "o"), "small": (":", "v"), "medium": ("--", "s"), "large": ("-.", "^")}
    for index, (size, values) in enumerate(measured.scores.by_iou.items()):
        if np.isfinite(values).any():
            line, marker = styles.get(size, ("-", ""))
            color = TEXT if size == "all" else hex_color(index - 1)
            label = "all sizes" if size == "all" else size
            axes.plot(
                measured.scores.ious, values, line, marker=marker, color=color, label=label, ms=5
            )
    finish_axes(axes, "AP by IoU and size", "AP (%)", True)
    axes.set(xlim=(0.48, 0.97), ylim=(0, 100), xlabel="IoU")


def _colored(measured: Evaluation) -> list[int]:
    """Return the classes that have a colour: those with the most objects, in their order."""
    order = np.argsort(-measured.num_objects, kind="stable")[:_MAX_COLORED]
    return sorted(int(i) for i in order if measured.num_objects[i])


def _class_lines(measured: Evaluation) -> Iterator[tuple[Curve, dict[str, Any]]]:
    """Yield the curves of the classes with their styles, then that of all together."""
    colored = _colored(measured)
    for index, curve in enumerate(measured.curves):
        if index not in colored and measured.num_objects[index]:
            yield thinned(curve), {"color": LINE, "linewidth": 0.8}
    for index in colored:
        name = shorten(measured.evaluated.class_names[index], _NAME_LENGTH)
        label = legend_label(name)
        style = {"color": hex_color(index), "label": label, "path_effects": _OUTLINE}
        yield thinned(measured.curves[index]), {**style, "linewidth": 1.8}
    joint = {"color": TEXT, "label": "all together", "linestyle": "--", "linewidth": 1.8}
    yield thinned(measured.joint_curve), joint


def _points(measured: Evaluation, axes: Axes, x: str, y: str) -> None:
    for index in _colored(measured):
        point = measured.points[index]
        place = getattr(point, x), getattr(point, y)
        axes.plot(*place, "o", color=hex_color(index), markeredgecolor=TEXT, markersize=6)


def _precision_recall(measured: Evaluation, axes: Axes) -> None:
    for curve, style in _class_lines(measured):
        axes.plot(curve.recall, curve.precision, **style)
    _points(measured, axes, "recall", "precision")
    finish_axes(axes, "Precision and recall", "precision", True)
    axes.set(xlim=(0, 1.01), ylim=(0, 1.01), xlabel="recall")
    put_legend_below(axes, 3)


def _f1(measured: Evaluation, axes: Axes) -> None:
    for curve, style in _class_lines(measured):
        axes.plot(curve.thresholds, curve.f1, **style)
    _points(measured, axes, "threshold", "f1")
    finish_axes(axes, "F1 by score threshold", "F1", True)
    axes.set(xlim=(0, 1.01), ylim=(0, 1.01), xlabel="score threshold")
    put_legend_below(axes, 3)


def _errors(measured: Evaluation, axes: Axes) -> None:
    costs = measured.costs.kinds
    kinds = list(ErrorKind)
    gains = [costs[kind].gain for kind in kinds]
    places = range(len(kinds))
    axes.barh(places, gains, color=hex_color(6), edgecolor=TEXT, linewidth=0.6)
    room = max([*gains, 1.0])
    for place, kind in zip(places, kinds, strict=True):
        text = f"{costs[kind].gain:.1f}  ({costs[kind].count:,})"
        axes.text(costs[kind].gain + 0.015 * room, place, text, va="center", fontsize=9)
    axes.set_yticks(places, KIND_NAMES)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.3 * room)
    axes.set_title("Kinds of errors")
    axes.set_xlabel("AP50 that it costs (number of errors)")


def _calibration(measured: Evaluation, axes: Axes) -> None:
    for each in measured.calibration.bins:
        if each.count:
            place = (each.low + each.high) / 2
            width = 0.92 * (each.high - each.low)
            style: dict[str, Any] = {"color": hex_color(1), "edgecolor": TEXT, "linewidth": 0.6}
            axes.bar(place, each.precision, width, **style)
            above = max(each.precision, each.high) + 0.04  # the bar and the line
            axes.text(place, above, f"{each.count:,}", ha="center", fontsize=9)
    bins = [each for each in measured.calibration.bins if each.count]
    axes.plot([0, 1], [0, 1], "--", color=TEXT, label="honest scores")
    scores, precisions = [each.score for each in bins], [each.precision for each in bins]
    axes.plot(scores, precisions, "o", ms=5, color=hex_color(5), label="mean score of the bar")
    error = f"expected error {measured.calibration.error:.3f}" if bins else "no detections"
    title = f"Calibration ({error})"
    finish_axes(axes, title, "precision at IoU 0.5", True)
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1.3),
        yticks=np.arange(0, 1.01, 0.2),
        xlabel="score; on the bars: number of detections",
    )
    axes.legend(loc="upper left")


def _confusion(measured: Evaluation, axes: Axes) -> None:
    counts = measured.confusion.astype(float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap=_SHARES, vmin=0, vmax=1)
    names = [*measured.evaluated.class_names, "background"]
    if len(names) <= _MAX_NAMED + 1:
        shown = [shorten(name, _NAME_LENGTH) for name in names]
        axes.set_xticks(range(len(names)), shown, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), shown)
    if len(names) <= _MAX_NUMBERED + 1:
        _write_numbers(counts, shares, axes)
    axes.set_xlabel("detected as")
    axes.set_ylabel("object")
    axes.set_title("Confusion matrix")
    for spine in axes.spines.values():
        spine.set_visible(False)


def _write_numbers(counts: np.ndarray, shares: np.ndarray, axes: Axes) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            red, green, blue = (round(255 * c) for c in _SHARES(shares[row, column])[:3])
            is_black = max(text_color((red, green, blue))) == 0
            color = "#010101" if is_black else "#fefefe"  # not those that become the page's
            axes.text(
                column, row, f"{count:.0f}", ha="center", va="center", color=color, fontsize=9
            )


def frequent_confusions(measured: Evaluation, number: int = 10) -> list[tuple[str, str, int]]:
    """Return the most frequent confusions of two classes: class, detected as, count."""
    counts = measured.confusion[:-1, :-1].copy()
    np.fill_diagonal(counts, 0)
    names: Sequence[str] = measured.evaluated.class_names
    order = np.argsort(-counts, axis=None, kind="stable")[:number]
    cells = [np.unravel_index(place, counts.shape) for place in order] if counts.size else []
    return [
        (names[row], names[column], int(counts[row, column]))
        for row, column in cells
        if counts[row, column]
    ]
