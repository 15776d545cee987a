"""Matching anchors with objects by IoU, without the matrix of all pairs.

Shape letters: M objects, N anchors.
"""

import torch
from torch import Tensor

from ..structures import Boxes, pairwise_iou
from .matcher import Matcher

MAX_PAIRS = 1 << 20  # IoUs held at a time: 4 MiB of float32, which caches well


def match_boxes(matcher: Matcher, objects: Boxes, anchors: Boxes) -> tuple[Tensor, Tensor]:
    """The same as `matcher(pairwise_iou(objects, anchors))`, in blocks of objects.

    A detector has hundreds of thousands of anchors, a crowded image hundreds of objects; all of
    their IoUs at once would take more memory than the model. A matcher of another class gets them
    all the same, since only it knows what to do with them.

    Args:
        matcher: its thresholds and labels decide.
        objects: M boxes, possibly none.
        anchors: N boxes.

    Returns:
        Matches and labels, both (N,), as `Matcher` describes them.
    """
    if type(matcher) is not Matcher:
        return matcher(pairwise_iou(objects, anchors))
    best = anchors.tensor.new_zeros(len(anchors))
    matches = torch.zeros_like(best, dtype=torch.int64)
    claimed = torch.zeros_like(best, dtype=torch.bool)
    block_size = max(1, MAX_PAIRS // max(1, len(anchors)))
    for start in range(0, len(objects) if len(anchors) else 0, block_size):
        overlaps = pairwise_iou(objects[start : start + block_size], anchors)  # (block, N)
        block_best, block_matches = overlaps.max(dim=0)
        matches = torch.where(block_best > best, block_matches + start, matches)
        best = torch.maximum(best, block_best)
        claimed |= (overlaps == overlaps.amax(dim=1, keepdim=True)).any(dim=0)
    _, labels = Matcher(matcher.thresholds[1:-1], matcher.labels)(best[None])
    if matcher.allow_low_quality_matches:
        labels[claimed] = 1
    return matches, labels
