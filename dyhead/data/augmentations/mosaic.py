"""Mosaics of four pictures (Bochkovskiy et al., arXiv:2004.10934)."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from dyhead.data.augmentations.sample import Sample, join_objects
from dyhead.data.augmentations.spans import lay

_CENTRE = (0.25, 0.75)  # the range of the meeting point, as shares of the sides


class Mosaic:
    """Puts a picture and three others round a random point.

    Each is resized by a random factor and fills a quarter: a random part of it where it is larger;
    a smaller one lies at the meeting point, and the rest is filled. Boxes are clipped to the
    quarters.
    """

    def __init__(
        self,
        scales: tuple[float, float],
        size: Sequence[int],
        fill: Sequence[float],
        least_visible: float,
    ) -> None:
        """Choose sizes.

        Args:
            scales: least and greatest factor.
            size: height and width of all mosaics in pixels; empty: those of the picture.
            fill: a value for each channel, 0 to 255.
            least_visible: share of a box's area that has to be left; others are dropped.
        """
        self._scales, self._size, self._least_visible = scales, tuple(size), least_visible
        self._fill = torch.tensor(fill).round().to(torch.uint8)

    def __call__(self, sample: Sample, draw: Callable[[], Sample]) -> Sample:
        """Return the mosaic of a sample and three that are drawn."""
        height, width = self._size or sample.size
        canvas = self._fill[:, None, None].repeat(1, height, width)
        y, x = (round(side * np.random.uniform(*_CENTRE)) for side in (height, width))
        quarters = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
        shown = [sample, draw(), draw(), draw()]
        placed = [
            self._place(canvas, shown[picked], quarter, (x, y))
            for picked, quarter in zip(np.random.permutation(4), quarters, strict=True)
        ]
        boxes, classes = zip(*placed, strict=True)
        return join_objects(canvas, list(boxes), list(classes))

    def _place(
        self,
        canvas: Tensor,
        sample: Sample,
        quarter: tuple[int, int, int, int],
        centre: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Paint a quarter (XYXY); return its boxes on the canvas, and their classes."""
        left, top, right, bottom = quarter
        sample = sample.resized(float(np.random.uniform(*self._scales)))
        height, width = sample.size
        across = lay(width, right - left, align=float(right == centre[0]))
        down = lay(height, bottom - top, align=float(bottom == centre[1]))
        x, y = across.source, down.source
        part = sample.cut((x, y, x + across.length, y + down.length), self._least_visible)
        left, top = left + across.target, top + down.target
        canvas[:, top : top + down.length, left : left + across.length] = part.image
        return part.moved_boxes(left, top), part.classes
