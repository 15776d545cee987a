"""The losses of ATSS: focal on the classes, GIoU on the boxes, cross-entropy on the centre-ness.

Shape letters: T anchors of all levels, P positive anchors of the batch, N images, K classes.
"""

from typing import NamedTuple

import torch
import torch.distributed as dist
from fvcore.nn import sigmoid_focal_loss
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss

from dyhead.d2.structures import Instances
from dyhead.d2.utils.comm import get_world_size
from dyhead.modeling.meta_arch.atss_assignment import (
    BACKGROUND,
    assign_anchors,
    center_distances,
)


class Positives(NamedTuple):
    """The positive anchors of a batch with their objects, ordered by image, then by anchor."""

    images: Tensor  # (P,), index of the image
    anchors: Tensor  # (P,), index among the T anchors
    classes: Tensor  # (P,), class of the object
    boxes: Tensor  # (P, 4), the object's box, XYXY in pixels


def find_positives(
    anchors: list[Tensor], gt_instances: list[Instances], candidates_per_level: int
) -> Positives:
    """Assign the objects of every image, which may have none, to the anchors.

    Args:
        anchors: per level (R, 4), XYXY in pixels.
        gt_instances: per image, with `gt_boxes` and `gt_classes`.
        candidates_per_level: see `assign_anchors`.
    """
    per_image = []
    for i, instances in enumerate(gt_instances):
        boxes = instances.gt_boxes.tensor
        matched = assign_anchors(anchors, boxes, candidates_per_level)
        chosen = torch.nonzero(matched != BACKGROUND).squeeze(1)
        objects = matched[chosen]
        image = torch.full_like(chosen, i)
        per_image.append((image, chosen, instances.gt_classes[objects], boxes[objects]))
    return Positives(*(torch.cat(parts) for parts in zip(*per_image, strict=True)))


def centerness_targets(anchors: Tensor, boxes: Tensor) -> Tensor:
    """How central the anchors (P, 4) are in their boxes (P, 4): 1 in the middle, 0 at the border.

    Tian et al., "FCOS" (ICCV 2019), equation 3.
    """
    left, top, right, bottom = center_distances(anchors, boxes).unbind(-1)
    horizontal = torch.minimum(left, right) / torch.maximum(left, right)
    vertical = torch.minimum(top, bottom) / torch.maximum(top, bottom)
    return (horizontal * vertical).sqrt()


def class_loss(
    logits: Tensor, positives: Positives, *, alpha: float, gamma: float, normalizer: Tensor
) -> Tensor:
    """Sigmoid focal loss over all anchors and classes: logits (N, T, K), normalizer ()."""
    targets = torch.zeros_like(logits)
    targets[positives.images, positives.anchors, positives.classes] = 1
    total = sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma, reduction="sum")
    return total / normalizer


def box_loss(predicted: Tensor, boxes: Tensor, weights: Tensor, normalizer: Tensor) -> Tensor:
    """Weighted sum of the GIoU losses of predicted boxes (P, 4); weights (P,), normalizer ()."""
    losses = generalized_box_iou_loss(predicted, boxes)  # (P,)
    return (losses * weights).sum() / normalizer


def quality_loss(logits: Tensor, targets: Tensor, normalizer: Tensor) -> Tensor:
    """Binary cross-entropy of the centre-ness logits (P,) against targets (P,), normalizer ()."""
    total = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="sum")
    return total / normalizer


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean of a tensor over all processes; every process has to call it."""
    world_size = get_world_size()
    if world_size == 1:
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values / world_size


@torch.no_grad()
def normalizers(centerness: Tensor) -> tuple[Tensor, Tensor]:
    """What the losses are divided by: positives and sum of centre-ness, means over processes.

    One collective operation whatever the batch holds, so that no process waits in vain.

    Args:
        centerness: (P,), targets of this process's positives, possibly none.
    """
    count = centerness.new_tensor(len(centerness))
    averages = mean_over_processes(torch.stack([count, centerness.sum()]))
    # Without any positive the sums to be divided are 0: any positive divisor will do.
    return averages[0].clamp(min=1), averages[1].clamp(min=torch.finfo(averages.dtype).eps)
