"""Draws the explanation of detections: boxes with levels, sampling points, weights, channels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from dyhead.explanation.explained import (
    AMPLIFIED_ABOVE,
    DAMPED_BELOW,
    PASSED_ABOVE,
    Explanation,
    LevelAttention,
    SampledPoints,
)
from dyhead.visualization.boxes import draw_boxes, readable_zoom
from dyhead.visualization.colors import css_color, level_colors, text_color

_DPI = 100
_LARGEST_POINT = 90  # points squared
_SIDE = 640  # pixels of the longer side of a drawn picture, at least
_GREY = "#7a7a7a"


def draw_overview(explanation: Explanation, picture: Image.Image) -> Image.Image:
    """Draw all boxes with their classes, scores and levels."""
    levels = [explanation.level_names[each.level] for each in explanation.objects]
    boxes = [
        replace(box, name=f"{box.name} {level}")
        for box, level in zip(explanation.detections.drawn_boxes(), levels, strict=True)
    ]
    zoom = max(readable_zoom(picture.size), -(-_SIDE // max(picture.size)))
    return draw_boxes(picture, boxes, zoom)


def save_detection(explanation: Explanation, index: int, picture: Image.Image, path: Path) -> None:
    """Draw one detection: its sampling points, scale weights and channels.

    Args:
        explanation: of the picture.
        index: of the detection.
        picture: in which it was found.
        path: of the PNG.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.1)
    figure = Figure(figsize=(13, 9), dpi=_DPI, layout=layout)
    canvas = FigureCanvasAgg(figure)
    (left, right), (weights, channels) = figure.subplots(2, 2, height_ratios=(1.7, 1))
    explained, found = explanation.objects[index], explanation.detections
    level = explanation.level_names[explained.level]
    figure.suptitle(
        f"{found.names[index]}, {found.scores[index]:.0%}: from {level} (stride"
        f" {explanation.strides[explained.level]}), row {explained.row}, column"
        f" {explained.column}",
        fontsize=14,
    )
    for axes, points in ((left, explained.points[0]), (right, explained.points[-1])):
        _draw_points(axes, explanation, index, picture, points)
    _draw_weights(weights, explanation, explained.level)
    of_level = explanation.blocks[explanation.block - 1][explained.level]
    _draw_channels(channels, of_level, explanation.block)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.print_png(str(path))


def _draw_points(
    axes: Axes, explanation: Explanation, index: int, picture: Image.Image, points: SampledPoints
) -> None:
    """Draw the points over the picture, greyed, the heaviest the largest."""
    width, height = picture.size
    axes.imshow(picture.convert("L").convert("RGB"), extent=(0, width, height, 0), alpha=0.75)
    x0, y0, x1, y1 = explanation.detections.boxes[index]
    axes.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color="black", linewidth=3.2)
    axes.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color="white", linewidth=1.4)
    sizes = _LARGEST_POINT * points.weights / max(points.weights.max(initial=0), 1e-12)
    names, colors = explanation.level_names, level_colors(len(explanation.level_names))
    for level in np.unique(points.levels):
        chosen = points.levels == level
        axes.scatter(
            points.places[chosen, 0],
            points.places[chosen, 1],
            s=sizes[chosen] + 4,
            color=css_color(colors[level]),
            edgecolors=css_color(text_color(colors[level])),  # seen on dark pictures too
            linewidths=0.6,
            label=f"{names[level]} ({points.weights[chosen].sum() / points.weights.sum():.0%})",
        )
    axes.plot(*explanation.objects[index].location, "+", color="black", ms=15, mew=4)
    axes.plot(*explanation.objects[index].location, "+", color="white", ms=14, mew=2)
    shown = np.concatenate([each.places for each in explanation.objects[index].points])
    axes.set(xlim=_reach(shown[:, 0], width), ylim=_reach(shown[:, 1], height)[::-1])
    axes.set_title(_point_title(explanation, points), fontsize=11)
    axes.legend(
        title="sampled on", fontsize=9, title_fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5)
    )
    axes.tick_params(labelsize=9)


def _point_title(explanation: Explanation, points: SampledPoints) -> str:
    kept = "" if points.kept > 0.9995 else f", {points.kept:.0%} of the weight"
    count = f"{len(points.weights)} points{kept}"
    if points.block == explanation.block:
        return f"Sampled for it by block {points.block} ({count})"
    return f"Traced back from block {explanation.block} to block {points.block} ({count})"


def _reach(places: np.ndarray, length: int) -> tuple[float, float]:
    """Return the limits of an axis: the picture and the points, with a margin."""
    margin = 0.02 * length
    return (
        float(min(0, places.min(initial=0))) - margin,
        float(max(length, places.max(initial=length))) + margin,
    )


def _draw_weights(axes: Axes, explanation: Explanation, level: int) -> None:
    """Draw the scale attention's weights of the level's branches, block by block."""
    levels = [block[level] for block in explanation.blocks]
    if not levels[0].weights:
        _say(axes, "no scale attention")
        return
    own = len(levels[0].weights) == 1  # a weight of the level itself
    branches = (levels[0].level,) if own else levels[0].branches
    colors = level_colors(len(explanation.level_names))
    width = 0.8 / len(branches)
    for place, name in enumerate(branches):
        heights = [each.weights[place] for each in levels]
        x = np.arange(1, len(levels) + 1) + (place - (len(branches) - 1) / 2) * width
        color = css_color(colors[explanation.level_names.index(name)])
        bars = axes.bar(
            x, heights, 0.92 * width, color=color, edgecolor="black", linewidth=0.5, label=name
        )
        if len(levels) * len(branches) <= 18:
            axes.bar_label(bars, fmt="%.2f", fontsize=8, padding=1)
    axes.set(ylim=(0, 1.12), xticks=range(1, len(levels) + 1))
    axes.set_xlabel("block", fontsize=10)
    axes.set_title(f"Scale attention of {levels[0].level}: weight of each branch", fontsize=11)
    axes.legend(
        title="branch", fontsize=9, title_fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5)
    )


def _draw_channels(axes: Axes, level: LevelAttention, block: int) -> None:
    """Draw both slopes of every channel, in the order of the steeper one."""
    if not len(level.dyrelu):
        _say(axes, "no DyReLU")
        return
    slopes = level.slopes[np.argsort(level.slopes[:, 0])]
    axes.axhspan(DAMPED_BELOW, AMPLIFIED_ABOVE, color=_GREY, alpha=0.2, linewidth=0)
    axes.axhspan(-PASSED_ABOVE, PASSED_ABOVE, color=_GREY, alpha=0.2, linewidth=0)
    for values, color, marker, label in (
        (slopes[:, 0], "#0072b2", "o", "for positive values"),
        (slopes[:, 1], "#d55e00", "x", "for negative values"),
    ):
        axes.plot(values, marker, color=color, ms=4, label=label)
    counts = f"{len(level.damped)} damped, {len(level.amplified)} amplified"
    axes.set_title(
        f"Task attention of {level.level} in block {block}: {counts},"
        f" {len(level.passing_negative)} let negatives pass",
        fontsize=11,
    )
    axes.set_xlabel(f"{len(slopes)} channels, sorted; within the grey bands as ReLU", fontsize=10)
    axes.set_ylabel("slope", fontsize=10)
    axes.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.19), ncols=2)  # hides none


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", fontsize=12)
    axes.set_axis_off()
