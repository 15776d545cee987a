"""Assignments of anchors to objects, and the positive anchors of a batch that follow from them.

An assignment holds for every anchor the index of the object that it has to detect, or BACKGROUND,
or IGNORED. `atss_assignment.py`, `fcos_assignment.py`, `reppoints_assignment.py` and `retinanet.py`
make them, each by the rule of its paper.

Shape letters: N images, T anchors of all levels, P positive anchors of the batch, M objects of an
image, C candidates per object.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dyhead.d2.structures import Instances
from dyhead.errors import UserError

BACKGROUND = -1
IGNORED = -2  # neither an object's nor background: no part in the losses

# Anchors (R, 4) per level and the objects (M, 4) of an image to an assignment (T,).
Rule = Callable[[list[Tensor], Tensor], Tensor]


class Positives(NamedTuple):
    """The positive anchors of a batch with their objects, ordered by image, then by anchor."""

    images: Tensor  # (P,), index of the image
    anchors: Tensor  # (P,), index among the T anchors
    classes: Tensor  # (P,), class of the object
    boxes: Tensor  # (P, 4), the object's box, XYXY in pixels


def find_positives(gt_instances: Sequence[Instances], assignments: Tensor) -> Positives:
    """Collect the anchors that have to detect an object.

    Args:
        gt_instances: per image, with `gt_boxes` and `gt_classes`, possibly empty.
        assignments: (N, T), indices of the image's objects, BACKGROUND or IGNORED.
    """
    images, anchors = torch.nonzero(assignments >= 0, as_tuple=True)
    counts = torch.tensor([0, *map(len, gt_instances)], device=assignments.device)
    objects = assignments[images, anchors] + counts.cumsum(0)[images]  # among those of all images
    classes = torch.cat([instances.gt_classes for instances in gt_instances])
    boxes = torch.cat([instances.gt_boxes.tensor for instances in gt_instances])
    return Positives(images, anchors, classes[objects], boxes[objects])


def assign_inside(
    rule: Rule, anchors: Sequence[Tensor], boxes: Tensor, inside: Sequence[Tensor]
) -> Tensor:
    """Assign the anchors that lie in an image; the others of its batch are background.

    Args:
        rule: makes the assignment.
        anchors: per level (R, 4).
        boxes: (M, 4), the objects of the image.
        inside: per level the indices of the anchors that lie in the image.

    Returns:
        (T,), object indices, BACKGROUND or IGNORED.
    """
    own = rule([level[chosen] for level, chosen in zip(anchors, inside, strict=True)], boxes)
    parts = own.split([len(chosen) for chosen in inside])
    return torch.cat(
        [
            own.new_full((len(level),), BACKGROUND).index_copy(0, chosen, part)
            for level, chosen, part in zip(anchors, inside, parts, strict=True)
        ]
    )


def resolve_claims(candidates: Tensor, ious: Tensor, positive: Tensor, num_anchors: int) -> Tensor:
    """Give every anchor to the object that claims it with the highest IoU (the first of equals).

    Args:
        candidates: (C, M), anchor indices.
        ious: (C, M), not negative.
        positive: (C, M), booleans: the candidates that their object claims.
        num_anchors: T.

    Returns:
        (T,), object indices, BACKGROUND where nobody claims the anchor.
    """
    num_objects = candidates.shape[1]
    anchors, claims = candidates.flatten(), torch.where(positive, ious, -1.0).flatten()
    # Two reductions in the place of a loop over objects: the highest claim on each anchor, then
    # the lowest index among the objects that made it. Both are free of order, and so of chance.
    highest = claims.new_full((num_anchors,), -1.0).scatter_reduce(0, anchors, claims, "amax")
    objects = torch.arange(num_objects, device=candidates.device).expand_as(candidates).flatten()
    winners = torch.where((claims >= 0) & (claims == highest[anchors]), objects, num_objects)
    matched = winners.new_full((num_anchors,), num_objects)
    matched = matched.scatter_reduce(0, anchors, winners, "amin")
    return torch.where(matched == num_objects, BACKGROUND, matched)


def check_topk(topk: int) -> None:
    """Refuse a number of candidates with which no object would be learned.

    Raises:
        UserError: it is not positive.
    """
    if topk < 1:
        raise UserError(f"TOPK is {topk}: every object needs 1 candidate or more.")
