"""Clips boxes to a part of a picture, and tells how much of each is left."""

import torch
from torch import Tensor

_LEAST_SIDE = 1.0  # pixels; less than one has nothing to be seen


def clip_boxes(boxes: Tensor, region: tuple[float, float, float, float]) -> Tensor:
    """Clip boxes (N, 4) to a region; both XYXY in pixels. Boxes outside get sides of 0."""
    low, high = boxes.new_tensor(region).view(2, 2)
    return torch.minimum(torch.maximum(boxes.view(-1, 2, 2), low), high).view(-1, 4)


def box_areas(boxes: Tensor) -> Tensor:
    """Return the areas (N,) of boxes (N, 4) XYXY, 0 for those without extent."""
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)


def visible_shares(boxes: Tensor, region: tuple[float, float, float, float]) -> Tensor:
    """Return the share (N,) of each box's area that lies in a region; 0 for boxes without area."""
    areas = box_areas(boxes)
    return torch.where(areas > 0, box_areas(clip_boxes(boxes, region)) / areas, 0.0)


def is_visible(boxes: Tensor, shares: Tensor, least: float) -> Tensor:
    """Tell which boxes stay, (N,) bool.

    Args:
        boxes: (N, 4) XYXY in pixels, as they are now.
        shares: (N,) of their former areas.
        least: share that has to be left; 0 takes any.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    return (shares > 0) & (shares >= least) & (sides >= _LEAST_SIDE).all(dim=1)
