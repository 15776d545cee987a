"""The losses of dense detectors: focal on classes, GIoU on boxes, cross-entropy on the quality.

Shape letters: T anchors of all levels, P positive anchors of the batch, N images, K classes.
"""

import torch
import torch.distributed as dist
from fvcore.nn import sigmoid_focal_loss
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss

from dyhead.d2.utils.comm import get_world_size
from dyhead.modeling.meta_arch.box_geometry import aligned_iou
from dyhead.modeling.meta_arch.positives import Positives

MIN_IOU = 1e-6  # of boxes that do not overlap; its logarithm gives no gradient


def class_loss(
    logits: Tensor, positives: Positives, *, alpha: float, gamma: float, normalizer: Tensor
) -> Tensor:
    """Sigmoid focal loss over all anchors and classes: logits (N, T, K), normalizer ()."""
    targets = torch.zeros_like(logits)
    targets[positives.images, positives.anchors, positives.classes] = 1
    total = sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma, reduction="sum")
    return total / normalizer


def log_iou_loss(predicted: Tensor, boxes: Tensor) -> Tensor:
    """Minus the logarithm of the IoU, (P,), of boxes (P, 4) (Yu et al., "UnitBox", 2016)."""
    return -aligned_iou(predicted, boxes).clamp(min=MIN_IOU).log()


BOX_LOSSES = {"giou": generalized_box_iou_loss, "iou": log_iou_loss}


def box_loss(
    predicted: Tensor, boxes: Tensor, weights: Tensor, normalizer: Tensor, kind: str = "giou"
) -> Tensor:
    """Weighted sum of the losses of predicted boxes.

    Args:
        predicted: (P, 4), XYXY in pixels.
        boxes: (P, 4), their objects'.
        weights: (P,).
        normalizer: (), what the sum is divided by.
        kind: "giou" (Rezatofighi et al., CVPR 2019) or "iou", see `log_iou_loss`.
    """
    losses = BOX_LOSSES[kind](predicted, boxes)  # (P,)
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
