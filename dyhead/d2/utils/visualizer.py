"""Draws boxes and labels on images, as `dyhead.visualization` draws them everywhere."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import Enum, unique
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from dyhead.visualization.boxes import DrawnBox, draw_boxes
from dyhead.visualization.colors import Color, class_colors
from dyhead.visualization.text import draw_caption

from ..data.catalog import MetadataCatalog
from ..structures import BoxMode

__all__ = ["ColorMode", "VisImage", "Visualizer"]

_IMAGE_OVER_FONT_SIZE = 90  # the root of the image's area over the height of text


@unique
class ColorMode(Enum):
    """IMAGE: a colour per object; SEGMENTATION: the class's colour; IMAGE_BW: on a grey image."""

    IMAGE = 0
    SEGMENTATION = 1
    IMAGE_BW = 2


class VisImage:
    """An image with drawings on it.

    Args:
        img: (height, width, 3), RGB, values in [0, 255].
        scale: the output's size over the image's.

    Attributes:
        picture: the output, a PIL image.
    """

    def __init__(self, img: np.ndarray, scale: float = 1.0) -> None:
        self.img = img
        self.scale = scale
        self.height, self.width = img.shape[:2]
        self.reset_image(img)

    def reset_image(self, img: np.ndarray) -> None:
        """Begin anew with another image of the same size."""
        size = (int(self.width * self.scale + 0.01), int(self.height * self.scale + 0.01))
        picture = Image.fromarray(img.astype(np.uint8)).convert("RGB")
        self.picture = picture.resize(size, Image.Resampling.LANCZOS)

    def save(self, filepath: str) -> None:
        """Write the picture; the name's ending tells the format."""
        self.picture.save(filepath)

    def get_image(self) -> np.ndarray:
        """Return the picture: (height * scale, width * scale, 3), RGB, uint8."""
        return np.array(self.picture)


class Visualizer:
    """Draws annotations or predictions on one image; coordinates are pixels of the image.

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
        self._font_size_scale = font_size_scale
        self._instance_mode = instance_mode

    def draw_instance_predictions(self, predictions: Any, jittering: bool = True) -> VisImage:
        """Draw an Instances with any of `pred_boxes` (XYXY), `pred_classes` and `scores`.

        Args:
            predictions: on the CPU.
            jittering: in the mode SEGMENTATION, tell objects of one class apart by shades.
        """
        if self._instance_mode == ColorMode.IMAGE_BW:
            self.output.reset_image(np.repeat(self.img.mean(axis=2, keepdims=True), 3, axis=2))
        boxes = _as_array(predictions.pred_boxes if predictions.has("pred_boxes") else None)
        classes = predictions.pred_classes.tolist() if predictions.has("pred_classes") else None
        scores = predictions.scores.tolist() if predictions.has("scores") else [None] * len(boxes)
        colors = self._class_colors(classes, jittering) or class_colors(len(boxes))
        names = self._names(classes) or [""] * len(boxes)
        drawn = zip(boxes.tolist(), colors, names, scores, strict=True)
        return self._draw(DrawnBox(_as_box(box), *rest) for box, *rest in drawn)

    def draw_dataset_dict(self, dic: dict[str, Any]) -> VisImage:
        """Draw the annotations of a dataset dict (`bbox`, `bbox_mode`, `category_id`).

        Crowds are dashed.
        """
        annotations = dic.get("annotations") or []
        classes = [annotation["category_id"] for annotation in annotations]
        colors = self._class_colors(classes, jittering=True) or class_colors(len(classes))
        names = self._names(classes)
        return self._draw(
            DrawnBox(
                _as_box(BoxMode.convert(a["bbox"], BoxMode(a["bbox_mode"]), BoxMode.XYXY_ABS)),
                color,
                name,
                is_dashed=bool(a.get("iscrowd", 0)),
            )
            for a, color, name in zip(annotations, colors, names, strict=True)
        )

    def overlay_instances(
        self,
        *,
        boxes: Any = None,
        labels: Sequence[str] | None = None,
        assigned_colors: Sequence[Any] | None = None,
    ) -> VisImage:
        """Draw boxes with their labels, the largest first so that small ones stay on top.

        Args:
            boxes: Boxes or (N, 4) numbers, XYXY in pixels.
            labels: N texts.
            assigned_colors: N colours that matplotlib knows; by default each box has its own.
        """
        corners = _as_array(boxes)
        count = len(corners)
        for values, what in ((labels, "labels"), (assigned_colors, "colours")):
            assert values is None or len(values) == count, f"{len(values)} {what}, {count} boxes"
        given = [_as_color(color) for color in assigned_colors or ()]
        colors = given or class_colors(count)
        drawn = zip(corners.tolist(), colors, labels or [""] * count, strict=True)
        return self._draw(DrawnBox(_as_box(box), color, label) for box, color, label in drawn)

    def draw_box(
        self, box_coord: Any, alpha: float = 0.5, edge_color: Any = "g", line_style: str = "-"
    ) -> VisImage:
        """Draw one box, (x0, y0, x1, y1) in pixels.

        Args:
            box_coord: the box.
            alpha: opacity of its lines.
            edge_color: a colour that matplotlib knows.
            line_style: "-", or anything else for a dashed line.
        """
        before, color = self.output.picture, _as_color(edge_color)
        self._draw([DrawnBox(_as_box(box_coord), color, is_dashed=line_style != "-")])
        self.output.picture = Image.blend(before, self.output.picture, alpha)
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
        """Write on a ground of a colour, with the text's top at `position` (x, y in pixels).

        Args:
            text: one line.
            position: of the middle, "left" or "right" end of the text's top, as the alignment says.
            font_size: height of the text in pixels; None follows the size of the image.
            color: of the ground, a colour that matplotlib knows; the text is black or white on it.
            horizontal_alignment: "left", "center" or "right".
            rotation: degrees, counter-clockwise.
        """
        side = float(np.sqrt(self.output.height * self.output.width))
        size = font_size or max(side / _IMAGE_OVER_FONT_SIZE, 10) * self._font_size_scale
        scale = self.output.scale
        draw_caption(
            self.output.picture,
            text,
            (position[0] * scale, position[1] * scale),
            size=max(round(size * scale), 1),
            color=_as_color(color),
            anchor={"left": 0.0, "center": 0.5, "right": 1.0}[horizontal_alignment],
            rotation=rotation,
        )
        return self.output

    def get_output(self) -> VisImage:
        """Return the image with all that was drawn."""
        return self.output

    def _draw(self, boxes: Iterable[DrawnBox]) -> VisImage:
        scale = self.output.scale
        scaled = [replace(b, corners=_as_box(scale * v for v in b.corners)) for b in boxes]
        self.output.picture = draw_boxes(
            self.output.picture, scaled, font_scale=self._font_size_scale
        )
        return self.output

    def _names(self, classes: Sequence[int] | None) -> list[str]:
        names = self.metadata.get("thing_classes", None)
        return [names[c] if names else str(c) for c in classes or ()]

    def _class_colors(self, classes: Sequence[int] | None, jittering: bool) -> list[Color] | None:
        known = self.metadata.get("thing_colors", None)
        if self._instance_mode != ColorMode.SEGMENTATION or not known or classes is None:
            return None
        shades = np.linspace(-38, 38, len(classes)) if jittering else np.zeros(len(classes))
        shaded = [
            np.clip(np.add(known[c], s), 0, 255) for c, s in zip(classes, shades, strict=True)
        ]
        return [tuple(color.astype(int).tolist()) for color in shaded]


def _as_array(boxes: Any) -> np.ndarray:
    """Return boxes, or anything like an array of boxes, as float (N, 4)."""
    if boxes is None:
        return np.zeros((0, 4))
    tensor = getattr(boxes, "tensor", boxes)
    array = tensor.detach().cpu().numpy() if hasattr(tensor, "detach") else np.asarray(tensor)
    return array.reshape(-1, 4).astype(float)


def _as_box(values: Iterable[Any]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = map(float, values)
    return x0, y0, x1, y1


def _as_color(color: Any) -> Color:
    red, green, blue = (round(255 * channel) for channel in to_rgb(color))
    return red, green, blue
