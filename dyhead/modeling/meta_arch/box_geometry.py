"""Geometry of boxes in pairs: centres, overlaps, distances to the sides.

Boxes are XYXY in pixels.
"""

import torch
from torch import Tensor


def box_centers(boxes: Tensor) -> Tensor:
    """Centres (..., 2) of boxes (..., 4)."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def aligned_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """IoU of boxes (..., 4) and (..., 4), pair by pair as they broadcast; 0 for empty overlaps."""
    size1, size2 = boxes1[..., 2:] - boxes1[..., :2], boxes2[..., 2:] - boxes2[..., :2]
    top_left = torch.maximum(boxes1[..., :2], boxes2[..., :2])
    bottom_right = torch.minimum(boxes1[..., 2:], boxes2[..., 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(-1)
    union = size1.prod(-1) + size2.prod(-1) - intersection
    return torch.where(intersection > 0, intersection / union, torch.zeros_like(union))


def center_distances(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Distances (..., 4) from the anchors' centres to the left, top, right and bottom of boxes."""
    centers = box_centers(anchors)
    return torch.cat([centers - boxes[..., :2], boxes[..., 2:] - centers], dim=-1)


def centerness_targets(anchors: Tensor, boxes: Tensor) -> Tensor:
    """How central the anchors (P, 4) are in their boxes (P, 4): 1 in the middle, 0 at the border.

    Tian et al., "FCOS" (ICCV 2019), equation 3.
    """
    left, top, right, bottom = center_distances(anchors, boxes).unbind(-1)
    horizontal = torch.minimum(left, right) / torch.maximum(left, right)
    vertical = torch.minimum(top, bottom) / torch.maximum(top, bottom)
    return (horizontal * vertical).sqrt()
