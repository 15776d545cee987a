"""The positive anchors of a batch: those that have to detect an object.

Shape letters: T anchors of all levels, P positive anchors of the batch, M objects of an image.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from dyhead.d2.structures import Instances

BACKGROUND = -1


class Positives(NamedTuple):
    """The positive anchors of a batch with their objects, ordered by image, then by anchor."""

    images: Tensor  # (P,), index of the image
    anchors: Tensor  # (P,), index among the T anchors
    classes: Tensor  # (P,), class of the object
    boxes: Tensor  # (P, 4), the object's box, XYXY in pixels


def find_positives(gt_instances: list[Instances], assign: Callable[[Tensor], Tensor]) -> Positives:
    """Assign the objects of every image, which may have none, to the anchors.

    Args:
        gt_instances: per image, with `gt_boxes` and `gt_classes`.
        assign: boxes (M, 4) to object indices (T,), BACKGROUND for no object.
    """
    per_image = []
    for i, instances in enumerate(gt_instances):
        boxes = instances.gt_boxes.tensor
        matched = assign(boxes)
        chosen = torch.nonzero(matched != BACKGROUND).squeeze(1)
        objects = matched[chosen]
        image = torch.full_like(chosen, i)
        per_image.append((image, chosen, instances.gt_classes[objects], boxes[objects]))
    return Positives(*(torch.cat(parts) for parts in zip(*per_image, strict=True)))
