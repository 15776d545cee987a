"""Pictures whose boxes can be found again by their colours, whatever was done to them.

Every class is a colour of its own on black, and every object a rectangle of it, so the pixels alone
tell where its box has to be.
"""

from typing import NamedTuple

import numpy as np
import torch

from dyhead.data.augmentations.sample import Sample

COLORS = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)]  # by class

Box = tuple[float, float, float, float]  # XYXY in pixels


class Found(NamedTuple):
    """A rectangle as the pixels show it."""

    box: Box
    pixels: int


def paint(size: tuple[int, int], objects: dict[int, tuple[int, int, int, int]]) -> np.ndarray:
    """Return a picture (H, W, 3) with a rectangle (XYXY) of each class."""
    picture = np.zeros((*size, 3), dtype=np.uint8)
    for index, (left, top, right, bottom) in objects.items():
        picture[top:bottom, left:right] = np.multiply(COLORS[index], 255)
    return picture


def planted(size: tuple[int, int], objects: dict[int, tuple[int, int, int, int]]) -> Sample:
    """Return a sample with a rectangle (XYXY) of each class."""
    return Sample(
        torch.from_numpy(paint(size, objects)).permute(2, 0, 1),
        torch.tensor(list(objects.values()), dtype=torch.float32).reshape(-1, 4),
        torch.tensor(list(objects), dtype=torch.int64),
    )


def find(image: torch.Tensor, index: int, threshold: int = 127) -> Found | None:
    """Find the rectangle of a class in (C, H, W); None where no pixel has its colour."""
    pattern = torch.tensor(COLORS[index], dtype=torch.bool)[:, None, None]
    mask = ((image > threshold) == pattern).all(dim=0)
    rows, columns = (mask.any(dim=axis).nonzero().flatten() for axis in (1, 0))
    if not len(rows):
        return None
    corners = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    box: Box = tuple(float(corner) for corner in corners)  # type: ignore[assignment]
    return Found(box, int(mask.sum()))


def assert_boxes_are_where_colors_are(
    sample: Sample, threshold: int = 127, tolerance: float = 1.01
) -> None:
    """Compare the boxes of a sample with what its pixels show of them, one object a class."""
    for box, index in zip(sample.boxes.tolist(), sample.classes.tolist(), strict=True):
        found = find(sample.image, index, threshold)
        assert found is not None, f"class {index} has the box {box}, and no pixels"
        np.testing.assert_allclose(box, found.box, atol=tolerance)
