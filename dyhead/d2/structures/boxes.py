"""A list of boxes and the overlap of two lists.

Shapes: N, M boxes; coordinates are absolute x0, y0, x1, y1 in pixels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .box_mode import BoxMode

__all__ = [
    "BoxMode",
    "Boxes",
    "matched_pairwise_iou",
    "pairwise_intersection",
    "pairwise_ioa",
    "pairwise_iou",
    "pairwise_point_box_distance",
]


class Boxes:
    """N boxes in a float32 tensor of shape (N, 4), held in `tensor`."""

    def __init__(self, tensor: Tensor) -> None:
        """Take (N, 4) corners, or anything empty for no boxes; anything else raises ValueError.

        Lists and arrays are taken too; the type is what torch.jit, which can script the class, has.
        """
        if not isinstance(tensor, Tensor):
            tensor = torch.as_tensor(tensor, dtype=torch.float32)
        tensor = tensor.to(torch.float32)
        if tensor.numel() == 0:
            tensor = tensor.reshape(-1, 4)
        if tensor.dim() != 2 or tensor.size(-1) != 4:
            raise ValueError(f"Boxes need a tensor of shape (N, 4), got {list(tensor.shape)}.")
        self.tensor = tensor

    def clone(self) -> "Boxes":
        """Boxes with memory of their own."""
        return Boxes(self.tensor.clone())

    def to(self, device: torch.device) -> "Boxes":
        """Boxes on `device`; they stay float32."""
        return Boxes(self.tensor.to(device=device))

    @property
    def device(self) -> torch.device:
        """The device of the boxes."""
        return self.tensor.device

    def area(self) -> Tensor:
        """(N,) areas in pixels."""
        width, height = self._size()
        return width * height

    def nonempty(self, threshold: float = 0.0) -> Tensor:
        """(N,) whether both sides are longer than `threshold` pixels."""
        width, height = self._size()
        return (width > threshold) & (height > threshold)

    def _size(self) -> tuple[Tensor, Tensor]:
        return self.tensor[:, 2] - self.tensor[:, 0], self.tensor[:, 3] - self.tensor[:, 1]

    def get_centers(self) -> Tensor:
        """(N, 2) centres x, y."""
        return (self.tensor[:, :2] + self.tensor[:, 2:]) / 2

    def clip(self, box_size: tuple[int, int]) -> None:
        """Move, in place, what lies outside an image of `box_size` = (height, width) to its border.

        Raises:
            ValueError: a coordinate is infinite or not a number.
        """
        if not torch.isfinite(self.tensor).all():
            raise ValueError("Cannot clip boxes that hold infinite or NaN coordinates.")
        height, width = box_size
        x = self.tensor[:, 0::2].clamp(min=0, max=width)
        y = self.tensor[:, 1::2].clamp(min=0, max=height)
        self.tensor = torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], dim=1)

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Multiply, in place, all x by `scale_x` and all y by `scale_y`."""
        self.tensor[:, 0::2] *= scale_x
        self.tensor[:, 1::2] *= scale_y

    def inside_box(self, box_size: tuple[int, int], boundary_threshold: int = 0) -> Tensor:
        """(N,) whether a box stays within (height, width), widened by `boundary_threshold`."""
        height, width = box_size
        x0, y0, x1, y1 = self.tensor.unbind(dim=1)
        fits_x = (x0 >= -boundary_threshold) & (x1 < width + boundary_threshold)
        fits_y = (y0 >= -boundary_threshold) & (y1 < height + boundary_threshold)
        return fits_x & fits_y

    @torch.jit.unused
    def __getitem__(self, item: Any) -> "Boxes":
        """Boxes at an index (which gives one box), slice, mask or tensor of indices."""
        return Boxes(self.tensor[[item]] if isinstance(item, int) else self.tensor[item])

    def __len__(self) -> int:
        """Return the number of boxes."""
        return self.tensor.shape[0]

    @torch.jit.unused
    def __iter__(self) -> Any:
        """Go through the boxes as tensors of shape (4,)."""
        yield from self.tensor

    def __repr__(self) -> str:
        """Show the coordinates."""
        return f"Boxes({self.tensor})"

    @classmethod
    @torch.jit.unused
    def cat(cls, boxes_list: Sequence["Boxes"]) -> "Boxes":
        """All boxes of several lists, in new memory; no list gives no boxes."""
        if len(boxes_list) == 0:
            return cls(torch.empty(0, 4))
        return cls(torch.cat([boxes.tensor for boxes in boxes_list]))


def pairwise_intersection(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """(N, M) areas in pixels that each box of `boxes1` shares with each box of `boxes2`."""
    first, second = boxes1.tensor[:, None], boxes2.tensor[None]
    top_left = torch.maximum(first[..., :2], second[..., :2])
    bottom_right = torch.minimum(first[..., 2:], second[..., 2:])
    return (bottom_right - top_left).clamp(min=0).prod(dim=2)


def pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """(N, M) intersection over union; 0, never NaN, where two boxes do not overlap."""
    intersection = pairwise_intersection(boxes1, boxes2)
    union = boxes1.area()[:, None] + boxes2.area()[None] - intersection
    return torch.where(intersection > 0, intersection / union, torch.zeros_like(intersection))


def pairwise_ioa(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """(N, M) intersection over the area of the box of `boxes2`; 0 without an overlap."""
    intersection = pairwise_intersection(boxes1, boxes2)
    shares = intersection / boxes2.area()[None]
    return torch.where(intersection > 0, shares, torch.zeros_like(intersection))


def pairwise_point_box_distance(points: Tensor, boxes: Boxes) -> Tensor:
    """(P, N, 4) distances in pixels from (P, 2) points to the left, top, right and bottom sides."""
    x, y = points.unsqueeze(2).unbind(1)  # each (P, 1)
    x0, y0, x1, y1 = boxes.tensor.unsqueeze(0).unbind(2)  # each (1, N)
    return torch.stack([x - x0, y - y0, x1 - x, y1 - y], dim=2)


def matched_pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """(N,) intersection over union of the boxes at equal positions of two lists of N.

    Raises:
        ValueError: the lists differ in length.
    """
    if len(boxes1) != len(boxes2):
        raise ValueError(f"matched_pairwise_iou got {len(boxes1)} and {len(boxes2)} boxes.")
    first, second = boxes1.tensor, boxes2.tensor
    top_left = torch.maximum(first[:, :2], second[:, :2])
    bottom_right = torch.minimum(first[:, 2:], second[:, 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(dim=1)
    return intersection / (boxes1.area() + boxes2.area() - intersection)
