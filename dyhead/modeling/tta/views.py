"""The views of an image in multi-scale testing: its sizes and mirror images.

Shape letters: C channels, H x W pixels of an image, D boxes.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dyhead.d2.structures import Boxes
from dyhead.data.resizing import ResizeShortestEdge
from dyhead.errors import UserError


class View(NamedTuple):
    """One way to look at an image."""

    min_size: int  # length of the shorter side in pixels; 0: the image as it is
    max_size: int  # largest length of the longer side
    is_flipped: bool  # left to right
    valid_sizes: tuple[float, float]  # of sqrt(box area) in the original image, both included

    def look(self, image: np.ndarray) -> Tensor:
        """Scale an image (H, W, C) as Detectron2 does in testing, and flip it: (C, H, W)."""
        resize = ResizeShortestEdge(self.min_size, self.max_size, "choice").get_transform(image)
        resized = resize.apply_image(image).transpose(2, 0, 1)
        tensor = torch.from_numpy(np.array(resized, order="C"))
        return tensor.flip(-1) if self.is_flipped else tensor

    def unflip(self, boxes: Tensor, width: float) -> Tensor:
        """Bring boxes (D, 4), XYXY in an image of that width, to where they are in the original."""
        if not self.is_flipped:
            return boxes
        x1, y1, x2, y2 = boxes.unbind(dim=1)
        return torch.stack([width - x2, y1, width - x1, y2], dim=1)

    def sees(self, boxes: Tensor) -> Tensor:
        """Mark, (D,), the boxes (D, 4), XYXY in the original image, whose sizes are valid here."""
        low, high = self.valid_sizes
        sizes = Boxes(boxes).area().sqrt()
        return (low <= sizes) & (sizes <= high)


def plan_views(
    min_sizes: Sequence[int],
    max_size: int,
    flip: bool = True,
    valid_sizes: Sequence[Sequence[float]] = (),
) -> list[View]:
    """List the views of every image, scale by scale.

    Args:
        min_sizes: lengths of the shorter side, in pixels; 0 leaves the image as it is.
        max_size: largest length of the longer side.
        flip: also look at each scale's mirror image.
        valid_sizes: per scale [low, high] of sqrt(box area) in the original image, both included,
            high -1 for no limit; or empty for no limits at all.

    Raises:
        UserError: there is no scale, or a size or a range of sizes cannot be used.
    """
    _check_sizes(min_sizes, max_size)
    if valid_sizes and len(valid_sizes) != len(min_sizes):
        raise UserError(
            f"TEST.AUG.VALID_SIZES has {len(valid_sizes)} entries for the {len(min_sizes)} of"
            " TEST.AUG.MIN_SIZES: give one [low, high] for each, or [] for no limits."
        )
    ranges = [_valid_range(entry) for entry in valid_sizes] or [(0.0, math.inf)] * len(min_sizes)
    return [
        View(min_size, max_size, is_flipped, valid_range)
        for min_size, valid_range in zip(min_sizes, ranges, strict=True)
        for is_flipped in ((False, True) if flip else (False,))
    ]


def _check_sizes(min_sizes: Sequence[int], max_size: int) -> None:
    if not min_sizes:
        raise UserError("TEST.AUG.MIN_SIZES is empty: give at least one size, such as (800,).")
    if not all(isinstance(size, int) and size >= 0 for size in min_sizes):
        raise UserError(
            f"TEST.AUG.MIN_SIZES is {tuple(min_sizes)}: give whole numbers of pixels (0 leaves an"
            " image as it is)."
        )
    if max_size < 1:
        raise UserError(f"TEST.AUG.MAX_SIZE is {max_size}: make it 1 or more.")


def _valid_range(entry: Sequence[float]) -> tuple[float, float]:
    try:
        low, high = (float(limit) for limit in entry)
    except (TypeError, ValueError):  # no pair of numbers
        low = high = math.nan
    high = math.inf if high == -1 else high
    if not 0 <= low < high:
        raise UserError(
            f"TEST.AUG.VALID_SIZES has the entry {entry}: make it [low, high] with"
            " 0 <= low < high, or high -1 for no limit."
        )
    return low, high
