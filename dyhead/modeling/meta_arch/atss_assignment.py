"""Adaptive training sample selection: the assignment of anchors to objects in ATSS.

Zhang et al., CVPR 2020, Algorithm 1. No anchors x objects matrix is kept: distances are taken in
blocks of objects, and IoUs only for the candidates.

Shape letters: R anchors of one level, T anchors of all levels, M objects of an image, C candidates
per object (the sum over levels of k). Boxes are XYXY in pixels.
"""

import torch
from torch import Tensor

from dyhead.box_geometry import MAX_PAIRS, aligned_iou, box_centers, center_distances
from dyhead.modeling.meta_arch.assignment import BACKGROUND, resolve_claims

MIN_INSIDE = 0.01  # pixels by which an anchor's centre has to be inside the object's box


def nearest_centers(centers: Tensor, targets: Tensor, k: int) -> Tensor:
    """Find the k nearest centres of every target.

    Equal distances at the rank k are decided as `torch.topk` does.

    Args:
        centers: (R, 2).
        targets: (M, 2).
        k: at most R.

    Returns:
        (k, M), indices of centres, nearest first.
    """
    blocks = targets.split(max(1, MAX_PAIRS // len(centers)))
    nearest = [_distances(block, centers).topk(k, dim=1, largest=False).indices for block in blocks]
    return torch.cat(nearest).t()


def _distances(points: Tensor, centers: Tensor) -> Tensor:
    dx = points[:, None, 0] - centers[:, 0]
    dy = points[:, None, 1] - centers[:, 1]
    return (dx * dx + dy * dy).sqrt()  # (M, R)


def select_candidates_per_level(anchors: list[Tensor], boxes: Tensor, k: int) -> Tensor:
    """Choose the k anchors of every level whose centres are nearest to the objects' centres.

    Args:
        anchors: per level (R, 4).
        boxes: (M, 4), at least one.
        k: candidates per level; a smaller level gives all its anchors.

    Returns:
        (C, M) indices into the anchors of all levels, level by level.
    """
    targets = box_centers(boxes)
    candidates, start = [], 0
    for level in anchors:
        nearest = nearest_centers(box_centers(level), targets, min(k, len(level)))
        candidates.append(nearest + start)
        start += len(level)
    return torch.cat(candidates)


def select_positives(anchors: Tensor, boxes: Tensor, ious: Tensor) -> Tensor:
    """Choose the candidates that are good enough for their object.

    A candidate needs an IoU of at least mean + (unbiased) standard deviation over the object's
    candidates, and its centre inside the object.

    Args:
        anchors: (C, M, 4), the candidates.
        boxes: (M, 4).
        ious: (C, M), of candidates and their objects.

    Returns:
        (C, M) booleans.
    """
    # A lone candidate has no deviation; torch would answer NaN.
    deviation = ious.std(dim=0) if len(ious) > 1 else torch.zeros_like(ious[0])
    inside = center_distances(anchors, boxes).amin(dim=-1) > MIN_INSIDE
    return (ious >= ious.mean(dim=0) + deviation) & inside


@torch.no_grad()
def assign_anchors(anchors: list[Tensor], boxes: Tensor, candidates_per_level: int) -> Tensor:
    """Choose the object that every anchor has to detect.

    Args:
        anchors: per level (R, 4).
        boxes: (M, 4), the objects of one image, possibly none.
        candidates_per_level: k; the paper's 9 times the number of anchors per location.

    Returns:
        (T,), object indices in the order of the levels, BACKGROUND for no object.
    """
    all_anchors = torch.cat(anchors)
    if len(boxes) == 0:
        return torch.full((len(all_anchors),), BACKGROUND, device=all_anchors.device)
    candidates = select_candidates_per_level(anchors, boxes, candidates_per_level)
    candidate_anchors = all_anchors[candidates]
    ious = aligned_iou(candidate_anchors, boxes)
    positive = select_positives(candidate_anchors, boxes, ious)
    return resolve_claims(candidates, ious, positive, len(all_anchors))
