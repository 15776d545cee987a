"""Draws boxes and labels on images with matplotlib."""

import colorsys
from collections.abc import Iterable, Sequence
from enum import Enum, unique
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..data.catalog import MetadataCatalog
from ..structures import BoxMode

__all__ = ["ColorMode", "VisImage", "Visualizer"]

_GOLDEN_RATIO = 0.618034  # hues this far apart stay distinct however many there are
_MIN_FONT_SIZE = 5.5  # points


@unique
class ColorMode(Enum):
    """IMAGE: a colour per object; SEGMENTATION: the class's colour; IMAGE_BW: on a grey image."""

    IMAGE = 0
    SEGMENTATION = 1
    IMAGE_BW = 2


class VisImage:
    """An image with drawings on it; coordinates are the image's pixels, whatever the scale.

    Args:
        img: (height, width, 3), RGB, values in [0, 255].
        scale: the output's size over the image's.
    """

    def __init__(self, img: np.ndarray, scale: float = 1.0) -> None:
        self.img = img
        self.scale = scale
        self.height, self.width = img.shape[:2]
        # matplotlib cuts fractions of pixels off: a power of two divides every size exactly
        self.dpi = 128
        size = (int(self.width * scale + 0.01), int(self.height * scale + 0.01))
        inches = (size[0] / self.dpi, size[1] / self.dpi)
        self.fig = Figure(figsize=inches, dpi=self.dpi, frameon=False)
        self.canvas = FigureCanvasAgg(self.fig)
        self.ax = self.fig.add_axes((0.0, 0.0, 1.0, 1.0))
        self.ax.axis("off")
        self.reset_image(img)

    def reset_image(self, img: np.ndarray) -> None:
        """Put another image of the same size under the drawings."""
        extent = (0, self.width, self.height, 0)
        self.ax.imshow(img.astype(np.uint8), extent=extent, interpolation="nearest")

    def save(self, filepath: str) -> None:
        """Write the picture; the name's ending tells the format."""
        self.fig.savefig(filepath)

    def get_image(self) -> np.ndarray:
        """The picture: (height * scale, width * scale, 3), RGB, uint8."""
        self.canvas.draw()
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()


class Visualizer:
    """Draws annotations or predictions on one image.

    Args:
        img_rgb: (height, width, 3), RGB, values in [0, 255].
        metadata: tells class names and colours (`thing_classes`, `thing_colors`).
        scale: the output's size over the image's.
        instance_mode: how objects are coloured.
        font_size_scale: multiplies the size of all text.
    """

    def __init__(
        self,
        img_rgb: Any,
        metadata: Any = None,
        scale: float = 1.0,
        instance_mode: ColorMode = ColorMode.IMAGE,
        font_size_scale: float = 1.0,
    ) -> None:
        self.img = np.asarray(img_rgb).clip(0, 255).astype(np.uint8)
        self.metadata = MetadataCatalog.get("__nonexist__") if metadata is None else metadata
        self.output = VisImage(self.img, scale=scale)
        side = float(np.sqrt(self.output.height * self.output.width))
        self._default_font_size = max(side / 115, 8 / scale) * font_size_scale
        self._instance_mode = instance_mode

    def draw_instance_predictions(self, predictions: Any, jittering: bool = True) -> VisImage:
        """Draw an Instances with any of `pred_boxes` (XYXY), `pred_classes` and `scores`.

        Args:
            predictions: on the CPU.
            jittering: in the mode SEGMENTATION, tell objects of one class apart by shades.
        """
        boxes = predictions.pred_boxes if predictions.has("pred_boxes") else None
        classes = predictions.pred_classes.tolist() if predictions.has("pred_classes") else None
        scores = predictions.scores.tolist() if predictions.has("scores") else None
        if self._instance_mode == ColorMode.IMAGE_BW:
            self.output.reset_image(np.repeat(self.img.mean(axis=2, keepdims=True), 3, axis=2))
        return self.overlay_instances(
            boxes=boxes,
            labels=self._labels(classes, scores),
            assigned_colors=self._class_colors(classes, jittering),
        )

    def draw_dataset_dict(self, dic: dict[str, Any]) -> VisImage:
        """Draw the annotations of a dataset dict (`bbox`, `bbox_mode`, `category_id`)."""
        annotations = dic.get("annotations") or []
        classes = [annotation["category_id"] for annotation in annotations]
        labels = self._labels(classes, None) or []
        crowd = [annotation.get("iscrowd", 0) for annotation in annotations]
        return self.overlay_instances(
            boxes=[
                BoxMode.convert(a["bbox"], BoxMode(a["bbox_mode"]), BoxMode.XYXY_ABS)
                for a in annotations
            ],
            labels=[label + "|crowd" * bool(c) for label, c in zip(labels, crowd, strict=True)],
            assigned_colors=self._class_colors(classes, jittering=True),
        )

    def overlay_instances(
        self,
        *,
        boxes: Any = None,
        labels: Sequence[str] | None = None,
        assigned_colors: Sequence[Any] | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draw boxes with their labels, the largest first so that small ones stay on top.

        Args:
            boxes: Boxes or (N, 4) numbers, XYXY in pixels.
            labels: N texts.
            assigned_colors: N colours that matplotlib knows; by default each box has its own.
            alpha: opacity of the boxes' lines.
        """
        corners = _as_array(boxes)
        count = len(corners)
        for values, what in ((labels, "labels"), (assigned_colors, "colours")):
            assert values is None or len(values) == count, f"{len(values)} {what}, {count} boxes"
        colors = _distinct_colors(range(count)) if assigned_colors is None else assigned_colors
        areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
        for i in np.argsort(-areas, kind="stable"):
            self.draw_box(corners[i], alpha=alpha, edge_color=colors[i])
            if labels is not None:
                self._draw_label(labels[i], corners[i], colors[i])
        return self.output

    def draw_box(
        self,
        box_coord: Any,
        alpha: float = 0.5,
        edge_color: Any = "g",
        line_style: str = "-",
    ) -> VisImage:
        """Draw one box, (x0, y0, x1, y1) in pixels."""
        x0, y0, x1, y1 = (float(value) for value in box_coord)
        width = max(self._default_font_size / 4, 1.0) * self.output.scale
        self.output.ax.add_patch(
            Rectangle(
                (x0, y0),
                x1 - x0,
                y1 - y0,
                fill=False,
                edgecolor=edge_color,
                linewidth=width,
                alpha=alpha,
                linestyle=line_style,
            )
        )
        return self.output

    def draw_text(
        self,
        text: str,
        position: tuple[float, float],
        *,
        font_size: float | None = None,
        color: Any = "g",
        horizontal_alignment: str = "center",
        rotation: float = 0,
    ) -> VisImage:
        """Write on a dark ground, with the text's top at `position` (x, y in pixels)."""
        size = font_size or self._default_font_size
        self.output.ax.text(
            *position,
            text,
            size=size * self.output.scale,
            family="sans-serif",
            bbox={"facecolor": "black", "alpha": 0.8, "pad": 0.7, "edgecolor": "none"},
            verticalalignment="top",
            horizontalalignment=horizontal_alignment,
            color=_readable_on_black(color),
            zorder=10,
            rotation=rotation,
            clip_on=True,
        )
        return self.output

    def get_output(self) -> VisImage:
        """The image with all that was drawn."""
        return self.output

    def _labels(
        self, classes: Sequence[int] | None, scores: Sequence[float] | None
    ) -> list[str] | None:
        names = self.metadata.get("thing_classes", None)
        parts = []
        if classes is not None:
            parts.append([names[c] if names else str(c) for c in classes])
        if scores is not None:
            parts.append([f"{score:.0%}" for score in scores])
        return [" ".join(words) for words in zip(*parts, strict=True)] if parts else None

    def _class_colors(
        self, classes: Sequence[int] | None, jittering: bool
    ) -> list[np.ndarray] | None:
        known = self.metadata.get("thing_colors", None)
        if self._instance_mode != ColorMode.SEGMENTATION or not known or classes is None:
            return None
        colors = [np.asarray(known[c], dtype=float) / 255 for c in classes]
        if not jittering:
            return colors
        shades = np.linspace(-0.15, 0.15, max(len(colors), 1))
        return [np.clip(color + shade, 0, 1) for color, shade in zip(colors, shades, strict=False)]

    def _draw_label(self, text: str, box: np.ndarray, color: Any) -> None:
        """At the box's upper left corner inside it, or under a box too low for that."""
        x0, y0, _, y1 = box
        side = np.sqrt(self.output.height * self.output.width)
        relative = np.clip(0.6 + 5 * (y1 - y0) / side, 0.7, 1.0)
        size = max(self._default_font_size * relative, _MIN_FONT_SIZE / self.output.scale)
        line_height = size * self.output.dpi / 72
        top = y0
        if y1 - y0 < 2 * line_height:
            fits_below = y1 + line_height <= self.output.height
            top = y1 if fits_below else max(y0 - 1.2 * line_height, 0)
        self.draw_text(text, (x0, top), color=color, horizontal_alignment="left", font_size=size)


def _as_array(boxes: Any) -> np.ndarray:
    """Boxes or anything like an array of boxes -> float (N, 4)."""
    if boxes is None:
        return np.zeros((0, 4))
    tensor = getattr(boxes, "tensor", boxes)
    array = tensor.detach().cpu().numpy() if hasattr(tensor, "detach") else np.asarray(tensor)
    return array.reshape(-1, 4).astype(float)


def _distinct_colors(indices: Iterable[int]) -> list[tuple[float, float, float]]:
    return [colorsys.hsv_to_rgb(i * _GOLDEN_RATIO % 1, 0.8, 0.95) for i in indices]


def _readable_on_black(color: Any) -> np.ndarray:
    """The colour, mixed with as much white as brings its brightness to a half."""
    rgb = np.asarray(to_rgb(color))
    brightness = float(rgb @ (0.3, 0.6, 0.1))
    white = max(0.0, (0.5 - brightness) / (1 - brightness))
    return rgb + (1 - rgb) * white
