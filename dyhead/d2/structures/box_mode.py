"""The formats of a box, and the way from one to another."""

import math
from collections.abc import Callable
from enum import IntEnum, unique
from typing import Any

import numpy as np
import torch
from torch import Tensor


@unique
class BoxMode(IntEnum):
    """Format of a box: corners or a corner and a size, in pixels (ABS) or as a share (REL)."""

    XYXY_ABS = 0
    """x0, y0, x1, y1 in pixels."""
    XYWH_ABS = 1
    """x0, y0, width, height in pixels; the format of COCO json."""
    XYXY_REL = 2
    """Corners as a share of the image size. No conversion: it would need the image's size."""
    XYWH_REL = 3
    """Corner and size as a share of the image size. No conversion either."""
    XYWHA_ABS = 4
    """Centre x, centre y, width, height in pixels and counter-clockwise angle in degrees."""

    @staticmethod
    def convert(box: Any, from_mode: "BoxMode", to_mode: "BoxMode") -> Any:
        """Convert one box or an array of boxes.

        Args:
            box: a list or tuple of 4 (or 5) numbers, or an array or tensor of shape (..., 4 or 5).
            from_mode: format of `box`.
            to_mode: format wanted.

        Returns:
            The boxes in the type, dtype and device of `box`, which stays as it is.

        Raises:
            ValueError: `box` has the wrong shape, or the two formats cannot be converted.
        """
        from_mode, to_mode = BoxMode(from_mode), BoxMode(to_mode)
        if from_mode == to_mode:
            return box
        if (from_mode, to_mode) not in CONVERSIONS:
            raise ValueError(f"No conversion from {from_mode.name} to {to_mode.name} boxes.")
        boxes = as_tensor(box)
        expected = 5 if from_mode == BoxMode.XYWHA_ABS else 4
        check_shape(box, boxes, expected)
        converted = CONVERSIONS[from_mode, to_mode](boxes)
        if isinstance(box, Tensor):
            return converted
        if isinstance(box, np.ndarray):
            return converted.numpy()
        return type(box)(converted.tolist())


def as_tensor(box: Any) -> Tensor:
    """Hold any kind of box in a tensor; Python numbers keep their full precision."""
    return box if isinstance(box, Tensor) else torch.tensor(np.ascontiguousarray(box))


def check_shape(box: Any, boxes: Tensor, expected: int) -> None:
    """Refuse anything but (..., expected), and lists that are not one flat box."""
    is_single = isinstance(box, list | tuple)
    if boxes.ndim == 0 or boxes.shape[-1] != expected or (is_single and boxes.ndim != 1):
        raise ValueError(
            f"Expected one list of {expected} numbers or an array of shape (..., {expected}) as"
            f" box, got {type(box).__name__} of shape {tuple(boxes.shape)}."
        )


def corners_to_size(boxes: Tensor) -> Tensor:
    """Convert boxes (..., 4) from x0, y0, x1, y1 to x0, y0, width, height."""
    return torch.cat([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], dim=-1)


def size_to_corners(boxes: Tensor) -> Tensor:
    """Convert boxes (..., 4) from x0, y0, width, height to x0, y0, x1, y1."""
    return torch.cat([boxes[..., :2], boxes[..., 2:] + boxes[..., :2]], dim=-1)


def rotated_to_corners(boxes: Tensor) -> Tensor:
    """Corners of the smallest upright box round each rotated box."""
    centres, size, angle = boxes.double().split([2, 2, 1], dim=-1)
    angle = angle * (math.pi / 180)
    half = (angle.cos().abs() * size + angle.sin().abs() * size.flip(-1)) / 2
    return torch.cat([centres - half, centres + half], dim=-1).to(boxes.dtype)


def size_to_rotated(boxes: Tensor) -> Tensor:
    """Upright boxes as rotated boxes with angle 0."""
    corner, size = boxes.double().split(2, dim=-1)
    angle = torch.zeros_like(size[..., :1])
    return torch.cat([corner + size / 2, size, angle], dim=-1).to(boxes.dtype)


CONVERSIONS: dict[tuple[BoxMode, BoxMode], Callable[[Tensor], Tensor]] = {
    (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS): corners_to_size,
    (BoxMode.XYWH_ABS, BoxMode.XYXY_ABS): size_to_corners,
    (BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS): rotated_to_corners,
    (BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS): size_to_rotated,
}
