"""Random crops that keep objects (Liu et al., SSD, ECCV 2016)."""

from typing import Any

import numpy as np

from dyhead.d2.data import transforms as T

_LEAST_IOUS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)  # of a crop with an object in it
_CANDIDATES = 40  # that are drawn for one of these
_ASPECT_RATIOS = (0.5, 2.0)  # width over height


class IoUCrop(T.Augmentation):
    """Crops a random rectangle that holds the centre of an object, by SSD's rule.

    An object whose centre it holds overlaps it by an IoU that is drawn first. In one of seven cases
    the picture stays whole, as it does without objects. torchvision's RandomIoUCrop has the same
    rule; trying one rectangle after the other, it takes longer than all else of a small picture.
    """

    def __init__(self, min_scale: float) -> None:
        """Take the least share of each side that a crop has."""
        self.min_scale = min_scale

    def get_transform(self, image: np.ndarray, boxes: np.ndarray | None) -> Any:
        """Return the crop of a newly drawn rectangle; boxes are (N, 4) XYXY in pixels."""
        height, width = image.shape[:2]
        if boxes is None or not len(boxes) or min(height, width) * self.min_scale < 1:
            return T.NoOpTransform()
        while True:
            choice = int(np.random.randint(len(_LEAST_IOUS) + 1))
            if choice == len(_LEAST_IOUS):
                return T.NoOpTransform()
            crops = self._draw(height, width)
            fitting = np.flatnonzero(_best_ious(crops, boxes) >= _LEAST_IOUS[choice])
            if len(fitting):
                left, top, right, bottom = crops[fitting[0]].tolist()
                return T.CropTransform(left, top, right - left, bottom - top)

    def _draw(self, height: int, width: int) -> np.ndarray:
        """Draw rectangles within a picture, (K, 4) XYXY in pixels, of aspects in the range."""
        scales = np.random.uniform(self.min_scale, 1.0, (_CANDIDATES, 2))
        sizes = (scales * (width, height)).astype(int)
        aspects = sizes[:, 0] / sizes[:, 1]
        sizes = sizes[(aspects >= _ASPECT_RATIOS[0]) & (aspects <= _ASPECT_RATIOS[1])]
        corners = (np.random.rand(len(sizes), 2) * ((width, height) - sizes)).astype(int)
        return np.concatenate([corners, corners + sizes], axis=1)


def _best_ious(crops: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the highest IoU of each crop (K,) with a box that has its centre in it; or else -1."""
    low, high = crops[:, None, :2], crops[:, None, 2:]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    holds = ((low < centres) & (centres < high)).all(axis=2)
    shared = np.minimum(high, boxes[:, 2:]) - np.maximum(low, boxes[:, :2])
    overlaps = shared.clip(min=0).prod(axis=2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (high - low).prod(axis=2)
    return np.where(holds, overlaps / (areas - overlaps), -1.0).max(axis=1, initial=-1.0)
