"""Geometry of boxes as plain tensors: centres, overlaps, and matching by overlap.

It imports PyTorch alone, so that detectors and the embedded host can both use it.

Shape letters: T anchors of all levels, M objects of an image. Boxes are XYXY in pixels.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

MAX_PAIRS = 1 << 20  # pairs compared at a time: 4 MiB of float32, which caches well
NOBODY = -1


def box_centers(boxes: Tensor) -> Tensor:
    """Return the centres (..., 2) of boxes (..., 4)."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def center_distances(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Return (..., 4) distances from anchors' centres to the left, top, right, bottom of boxes."""
    centers = box_centers(anchors)
    return torch.cat([centers - boxes[..., :2], boxes[..., 2:] - centers], dim=-1)


def aligned_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Compute the IoU of boxes (..., 4) pair by pair as they broadcast; 0 for empty overlaps."""
    size1, size2 = boxes1[..., 2:] - boxes1[..., :2], boxes2[..., 2:] - boxes2[..., :2]
    top_left = torch.maximum(boxes1[..., :2], boxes2[..., :2])
    bottom_right = torch.minimum(boxes1[..., 2:], boxes2[..., 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(-1)
    union = size1.prod(-1) + size2.prod(-1) - intersection
    return torch.where(intersection > 0, intersection / union, torch.zeros_like(union))


class Overlaps(NamedTuple):
    """Summary of the IoUs of T anchors and M objects."""

    highest: Tensor  # (T,), of each anchor with any object, 0 where there is none
    nearest: Tensor  # (T,), the object of that IoU (the first of equals), 0 where there is none
    claimed: Tensor  # (T,), the last object that has its highest IoU with the anchor, or NOBODY


def find_overlaps(anchors: Tensor, boxes: Tensor, *, claim_without_overlap: bool) -> Overlaps:
    """Compare all anchors with all objects, a block of objects at a time.

    A detector has hundreds of thousands of anchors, a crowded image hundreds of objects: all of
    their IoUs at once would take more memory than the model.

    Args:
        anchors: (T, 4).
        boxes: (M, 4), possibly none.
        claim_without_overlap: an object that overlaps no anchor at all claims every anchor, as
            Detectron2's rule taken at its word has it; else it claims none.
    """
    highest = anchors.new_zeros(len(anchors))
    nearest = torch.zeros_like(highest, dtype=torch.int64)
    claimed = torch.full_like(nearest, NOBODY)
    block_size = max(1, MAX_PAIRS // max(1, len(anchors)))
    for start in range(0, len(boxes) if len(anchors) else 0, block_size):
        ious = aligned_iou(boxes[start : start + block_size, None], anchors)  # (block, T)
        block_highest, block_nearest = ious.max(dim=0)
        # Only a higher IoU replaces: of equals in different blocks the first object stays, too.
        nearest = torch.where(block_highest > highest, block_nearest + start, nearest)
        highest = torch.maximum(highest, block_highest)
        claimed = torch.maximum(claimed, _last_claims(ious, start, claim_without_overlap))
    return Overlaps(highest, nearest, claimed)


def _last_claims(ious: Tensor, start: int, claim_without_overlap: bool) -> Tensor:
    """Find the last object that has its highest IoU with an anchor, (T,), counted from `start`."""
    best = ious.amax(dim=1, keepdim=True)
    claims = ious == best
    if not claim_without_overlap:
        claims &= best > 0
    objects = torch.arange(start, start + len(ious), device=ious.device)[:, None]
    return torch.where(claims, objects, NOBODY).amax(dim=0)


def match_boxes(
    matcher: Any, boxes: Tensor, anchors: Tensor, plain_class: type[Any]
) -> tuple[Tensor, Tensor]:
    """Return what a `Matcher` of Detectron2 makes of the IoU matrix, without the matrix.

    A matcher of a derived class gets the matrix, since only it knows its own rules.

    Args:
        matcher: its thresholds and labels decide.
        boxes: (M, 4), possibly none.
        anchors: (T, 4).
        plain_class: the host's `Matcher`, whose rules are those followed here.

    Returns:
        (T,) indices of the best objects, 0 where there is none, and (T,) int8 labels: 1 positive,
        0 background, -1 ignored.
    """
    if type(matcher) is not plain_class:
        matches, labels = matcher(aligned_iou(boxes[:, None], anchors))
        return matches, labels
    overlaps = find_overlaps(anchors, boxes, claim_without_overlap=True)
    # The highest IoUs are a matrix of one object: the thresholds see no more than them.
    _, labels = plain_class(matcher.thresholds[1:-1], matcher.labels)(overlaps.highest[None])
    if matcher.allow_low_quality_matches:
        labels[overlaps.claimed != NOBODY] = 1
    return overlaps.nearest, labels
