"""Weighted box fusion (Solovyev et al., Image and Vision Computing 2021, arXiv:1910.13302).

Unlike NMS, which keeps the best box of a group and forgets the others, it averages the group's
boxes, and believes a box the more the more views have found it.

Shape letters: D boxes to fuse, F fused boxes.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou

_LEAST_WEIGHT = 1e-12  # keeps the mean of boxes defined whose scores are all zero


class FusedBoxes(NamedTuple):
    """Groups of boxes, each replaced by one."""

    boxes: Tensor  # (F, 4), XYXY
    scores: Tensor  # (F,), mean of the group's
    classes: Tensor  # (F,), indices
    counts: Tensor  # (F,), number of boxes in the group, int64


def fuse_boxes(boxes: Tensor, scores: Tensor, classes: Tensor, iou_threshold: float) -> FusedBoxes:
    """Group the overlapping boxes of each class, and average every group (section 3, steps 1-5).

    From the best box to the worst, each joins the group whose fused box it overlaps most, if by
    more than the threshold, or else starts a group. A fused box is the mean of its group's boxes
    weighted by their scores, kept up to date while the group grows.

    Args:
        boxes: (D, 4), XYXY in pixels.
        scores: (D,), not negative.
        classes: (D,), indices.
        iou_threshold: two boxes that overlap by more show the same object.

    Returns:
        The groups, on the device of `boxes`, class by class; `rescale_scores` comes next.
    """
    order = scores.argsort(descending=True, stable=True)
    # One box after the other: on a GPU every step would wait for the one before.
    sorted_boxes, sorted_scores = boxes[order].double().cpu(), scores[order].double().cpu()
    sorted_classes = classes[order].cpu()
    fused = [FusedBoxes(sorted_boxes[:0], sorted_scores[:0], sorted_classes[:0], order[:0].cpu())]
    for class_ in sorted_classes.unique():
        is_class = sorted_classes == class_
        groups = _fuse_class(sorted_boxes[is_class], sorted_scores[is_class], iou_threshold)
        fused.append(groups._replace(classes=class_.expand(len(groups.boxes))))
    all_boxes, all_scores, *others = (torch.cat(parts) for parts in zip(*fused, strict=True))
    return FusedBoxes(
        all_boxes.to(boxes), all_scores.to(scores), *(part.to(boxes.device) for part in others)
    )


def rescale_scores(scores: Tensor, counts: Tensor, num_views: Tensor) -> Tensor:
    """Lower the scores of boxes that few views have found (section 3, step 6).

    Args:
        scores: (F,), mean scores of the groups.
        counts: (F,), number of boxes in each group; one view may have given several.
        num_views: (F,), number of views that could have found the box.

    Returns:
        (F,): score * min(count, views) / views; unchanged where no view could.
    """
    num_views = num_views.clamp(min=1)
    return scores * counts.minimum(num_views) / num_views


def _fuse_class(boxes: Tensor, scores: Tensor, iou_threshold: float) -> FusedBoxes:
    """Fuse boxes of one class, best first; the result names it 0."""
    fused, weights = torch.zeros_like(boxes), torch.zeros_like(scores)
    counts = torch.zeros(len(boxes), dtype=torch.int64)
    num_groups = 0
    for box, score in zip(boxes, scores.clamp(min=_LEAST_WEIGHT), strict=True):
        group = _find_group(box, fused[:num_groups], iou_threshold)
        num_groups = max(num_groups, group + 1)
        counts[group] += 1
        weights[group] += score
        fused[group] += (box - fused[group]) * (score / weights[group])
    mean_scores = weights / counts.clamp(min=1)
    parts = (fused, mean_scores, torch.zeros_like(counts), counts)
    return FusedBoxes(*(part[:num_groups] for part in parts))


def _find_group(box: Tensor, fused: Tensor, iou_threshold: float) -> int:
    """Find the fused box that `box` overlaps most, or return their number if by too little."""
    if len(fused) == 0:
        return 0
    iou, group = box_iou(box[None], fused)[0].max(dim=0)
    return int(group) if iou > iou_threshold else len(fused)
