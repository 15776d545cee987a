"""Random crops that keep objects (Liu et al., SSD, ECCV 2016)."""

from typing import Any

import numpy as np
import torch
from torchvision.transforms import v2
from torchvision.tv_tensors import BoundingBoxes, BoundingBoxFormat

from dyhead.d2.data import transforms as T


class IoUCrop(T.Augmentation):
    """Crops a random rectangle that holds the centre of an object, as torchvision chooses it.

    It overlaps an object by an IoU that is drawn first, or is the whole picture in one of seven
    cases. Pictures without objects stay whole.
    """

    def __init__(self, min_scale: float) -> None:
        """Take the least share of each side that a crop has."""
        self.min_scale = min_scale
        self._choice = v2.RandomIoUCrop(min_scale=min_scale)

    def get_transform(self, image: np.ndarray, boxes: np.ndarray | None) -> Any:
        """Return the crop of a newly drawn rectangle; boxes are (N, 4) XYXY in pixels."""
        height, width = image.shape[:2]
        if boxes is None or not len(boxes) or min(height, width) * self.min_scale < 1:
            return T.NoOpTransform()
        objects = BoundingBoxes(
            torch.from_numpy(boxes),
            format=BoundingBoxFormat.XYXY,
            canvas_size=(height, width),
        )
        crop = self._choice.make_params([objects])
        if not crop:
            return T.NoOpTransform()
        return T.CropTransform(crop["left"], crop["top"], crop["width"], crop["height"])
