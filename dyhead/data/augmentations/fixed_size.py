"""Pictures of one fixed size: large-scale jitter (arXiv:2012.07177), and letterboxes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dyhead.d2.data import transforms as T


class ScaleJitter(T.Augmentation):
    """Resizes a picture to a random multiple of what fits a size; its aspect ratio stays."""

    def __init__(self, size: Sequence[int], scales: tuple[float, float]) -> None:
        """Choose sizes.

        Args:
            size: height and width in pixels.
            scales: least and greatest multiple; (1, 1) is a letterbox's.
        """
        self.size, self.scales = tuple(size), scales

    def get_transform(self, image: np.ndarray) -> Any:
        """Return the resize by a newly drawn multiple."""
        old = image.shape[:2]
        fitting = min(room / side for room, side in zip(self.size, old, strict=True))
        scale = fitting * np.random.uniform(*self.scales)
        height, width = (max(1, round(side * scale)) for side in old)
        return T.ResizeTransform(old[0], old[1], height, width)


class CropToSize(T.Augmentation):
    """Crops what a picture has more than a size, at a random place; less stays less."""

    def __init__(self, size: Sequence[int]) -> None:
        """Take the height and width in pixels."""
        self.size = tuple(size)

    def get_transform(self, image: np.ndarray) -> Any:
        """Return the crop of a newly drawn place."""
        old = image.shape[:2]
        height, width = (min(room, side) for room, side in zip(self.size, old, strict=True))
        top, left = (int(np.random.randint(n + 1)) for n in (old[0] - height, old[1] - width))
        return T.CropTransform(left, top, width, height)


class PadToSize:
    """Fills pictures up to a size, to the right and below, as the model pads its batches."""

    def __init__(self, size: Sequence[int], fill: Sequence[float]) -> None:
        """Choose what is added.

        Args:
            size: height and width in pixels.
            fill: a value for each channel, 0 to 255.
        """
        self._size = tuple(size)
        self._fill = torch.tensor(fill).round().to(torch.uint8)

    def __call__(self, image: Tensor) -> Tensor:
        """Return an image (C, H, W) of uint8, none larger than the size, filled up to it."""
        height, width = image.shape[-2:]
        if (height, width) == self._size:
            return image
        padded = self._fill[:, None, None].repeat(1, *self._size)
        padded[:, :height, :width] = image
        return padded
