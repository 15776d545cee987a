"""Mixtures of two pictures (Zhang et al., ICLR 2018; for detection: arXiv:1902.04103)."""

from collections.abc import Callable

import numpy as np

from dyhead.data.augmentations.sample import Sample, join_objects
from dyhead.data.augmentations.spans import lay


class Mixup:
    """Blends a picture with another one where both are, and keeps the objects of both.

    The picture keeps its size. The other lies at a random place, and shows a random part of itself
    where it is larger.
    """

    def __init__(self, alpha: float, least_visible: float) -> None:
        """Choose the blend.

        Args:
            alpha: the other's share is drawn from the beta distribution with both parameters this.
            least_visible: share of a box's area that has to be left; others are dropped.
        """
        self._alpha, self._least_visible = alpha, least_visible

    def __call__(self, sample: Sample, draw: Callable[[], Sample]) -> Sample:
        """Return the mixture of a sample and one that is drawn."""
        other = draw()
        share = float(np.random.beta(self._alpha, self._alpha))
        down, across = (
            lay(length, room, align=np.random.rand())
            for length, room in zip(other.size, sample.size, strict=True)
        )
        x, y = across.source, down.source
        part = other.cut((x, y, x + across.length, y + down.length), self._least_visible)
        top, left = down.target, across.target
        image = sample.image.clone()
        below = image[:, top : top + down.length, left : left + across.length]
        below.copy_(below.float().lerp(part.image.float(), share).round())
        boxes = [sample.boxes, part.moved_boxes(left, top)]
        return join_objects(image, boxes, [sample.classes, part.classes])
