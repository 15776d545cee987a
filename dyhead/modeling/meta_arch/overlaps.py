"""How much anchors or proposals overlap the objects of an image, without a matrix of all pairs.

Shape letters: T anchors of all levels, M objects of an image. Boxes are XYXY in pixels.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from dyhead.d2.modeling.matcher import Matcher
from dyhead.modeling.meta_arch.atss_assignment import MAX_BLOCK
from dyhead.modeling.meta_arch.box_geometry import aligned_iou
from dyhead.modeling.meta_arch.positives import BACKGROUND


class Overlaps(NamedTuple):
    """What is kept of the IoUs of T anchors and M objects."""

    highest: Tensor  # (T,), of each anchor with any object, 0 where there is none
    nearest: Tensor  # (T,), the object of that IoU (the first of equals), 0 where there is none
    claimed: Tensor  # (T,), the last object that has its highest IoU with the anchor, or BACKGROUND


def find_overlaps(anchors: Tensor, boxes: Tensor, *, claim_without_overlap: bool) -> Overlaps:
    """Compare all anchors (T, 4) with all objects (M, 4), a block of objects at a time.

    Args:
        anchors: (T, 4).
        boxes: (M, 4), possibly none.
        claim_without_overlap: whether an object that overlaps no anchor at all claims every anchor,
            as Detectron2's rule taken at its word has it, or none.
    """
    highest = anchors.new_zeros(len(anchors))
    nearest = torch.zeros_like(highest, dtype=torch.int64)
    claimed = torch.full_like(nearest, BACKGROUND)
    block_size = max(1, MAX_BLOCK // max(1, len(anchors)))
    for start in range(0, len(boxes), block_size):
        ious = aligned_iou(boxes[start : start + block_size, None], anchors)  # (block, T)
        block_highest, block_nearest = ious.max(dim=0)
        nearest = torch.where(block_highest > highest, block_nearest + start, nearest)
        highest = torch.maximum(highest, block_highest)
        claimed = torch.maximum(claimed, _last_claims(ious, start, claim_without_overlap))
    return Overlaps(highest, nearest, claimed)


def _last_claims(ious: Tensor, start: int, claim_without_overlap: bool) -> Tensor:
    """The last object that has its highest IoU with an anchor, (T,), counted from `start`."""
    best = ious.amax(dim=1, keepdim=True)
    claims = ious == best
    if not claim_without_overlap:
        claims &= best > 0
    objects = torch.arange(start, start + len(ious), device=ious.device)[:, None]
    return torch.where(claims, objects, BACKGROUND).amax(dim=0)


def match_in_blocks(matcher: Matcher, anchors: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """What Detectron2's `Matcher` makes of the IoU matrix, without the matrix.

    Args:
        matcher: its thresholds and labels decide.
        anchors: (T, 4), at least one.
        boxes: (M, 4), possibly none.

    Returns:
        (T,) indices of the best objects, 0 where there is none, and (T,) int8 labels.
    """
    overlaps = find_overlaps(anchors, boxes, claim_without_overlap=True)
    bands = Matcher(matcher.thresholds[1:-1], matcher.labels)
    _, labels = bands(overlaps.highest[None])
    if matcher.allow_low_quality_matches:
        labels[overlaps.claimed != BACKGROUND] = 1
    return overlaps.nearest, labels
