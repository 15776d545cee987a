"""The losses of dense detectors: focal on classes, one of several on boxes, and on the quality.

Shape letters: T anchors of all levels, P positive anchors of the batch, N images, K classes.
"""

from collections.abc import Callable

import torch
import torch.distributed as dist
from fvcore.nn import sigmoid_focal_loss
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from dyhead.box_geometry import aligned_iou, center_distances
from dyhead.d2.utils.comm import get_world_size
from dyhead.errors import UserError
from dyhead.modeling.meta_arch.assignment import Positives

MIN_IOU = 1e-6  # of boxes that do not overlap; its logarithm gives no gradient
MIN_SIDE = 1e-3  # pixels
NO_LOSS_LOGIT = -1e4  # its focal loss as background is 0, in float16 too
SMOOTH_L1 = "smooth_l1"  # the loss on deltas or sides, where a detector has a unit for them


def class_loss(
    logits: Tensor,
    positives: Positives,
    *,
    alpha: float,
    gamma: float,
    normalizer: Tensor | float,
    ignored: Tensor | None = None,
) -> Tensor:
    """Compute the sigmoid focal loss over all anchors and classes (Lin et al., ICCV 2017).

    Args:
        logits: (N, T, K).
        positives: the anchors whose class is 1; all others are background.
        alpha: weight of the positive class, 1 - alpha that of the negative one.
        gamma: exponent that takes weight from easy examples.
        normalizer: (), the divisor of the sum.
        ignored: (N, T), booleans: anchors without a part in the loss.
    """
    if ignored is not None:
        # A logit that costs nothing keeps all sizes fixed; picking the others would wait for a GPU.
        logits = logits.masked_fill(ignored[..., None], NO_LOSS_LOGIT)
    targets = torch.zeros_like(logits)
    targets[positives.images, positives.anchors, positives.classes] = 1
    total = sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma, reduction="sum")
    return total / normalizer


def log_iou_loss(predicted: Tensor, boxes: Tensor) -> Tensor:
    """Return minus the logarithm of the IoU, (P,), of boxes (P, 4) (Yu et al., "UnitBox", 2016)."""
    return -aligned_iou(predicted, boxes).clamp(min=MIN_IOU).log()


def complete_iou_loss(predicted: Tensor, boxes: Tensor) -> Tensor:
    """Compute the CIoU loss, (P,), of boxes (P, 4) (Zheng et al., AAAI 2020)."""
    # A box without height has no ratio of sides: NaN. Distances in FCOS may well be 0.
    corners = torch.maximum(predicted[:, 2:], predicted[:, :2] + MIN_SIDE)
    return complete_box_iou_loss(torch.cat([predicted[:, :2], corners], dim=1), boxes)


# Of predicted and objects' boxes, both (P, 4), XYXY in pixels, to losses (P,).
BOX_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "giou": generalized_box_iou_loss,  # Rezatofighi et al., CVPR 2019
    "diou": distance_box_iou_loss,  # Zheng et al., AAAI 2020
    "ciou": complete_iou_loss,
    "iou": log_iou_loss,
}


def check_box_loss(key: str, kind: str, *others: str) -> None:
    """Refuse the value of a key, `kind`, that is neither in BOX_LOSSES nor one of `others`.

    Raises:
        UserError: it is neither.
    """
    choices = (*others, *BOX_LOSSES)
    if kind not in choices:
        raise UserError(f"{key} is {kind!r}: use one of {', '.join(choices)}.")


def box_loss(
    predicted: Tensor,
    boxes: Tensor,
    kind: str,
    normalizer: Tensor | float,
    weights: Tensor | None = None,
) -> Tensor:
    """Sum the losses of predicted boxes.

    Args:
        predicted: (P, 4), XYXY in pixels.
        boxes: (P, 4), their objects'.
        kind: a key of BOX_LOSSES.
        normalizer: (), the divisor of the sum.
        weights: (P,); None for 1 everywhere.
    """
    losses = BOX_LOSSES[kind](predicted, boxes)
    return (losses if weights is None else losses * weights).sum() / normalizer


def quality_loss(logits: Tensor, targets: Tensor, normalizer: Tensor) -> Tensor:
    """Compute the binary cross-entropy of quality logits (P,) and targets (P,); normalizer ()."""
    total = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="sum")
    return total / normalizer


def centerness_targets(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Measure how central the anchors (P, 4) are in boxes (P, 4): 1 in the middle, 0 at the border.

    Tian et al., "FCOS" (ICCV 2019), equation 3.
    """
    left, top, right, bottom = center_distances(anchors, boxes).unbind(-1)
    horizontal = torch.minimum(left, right) / torch.maximum(left, right)
    vertical = torch.minimum(top, bottom) / torch.maximum(top, bottom)
    return (horizontal * vertical).sqrt()


def mean_over_processes(values: Tensor) -> Tensor:
    """Average a tensor over all processes; every process has to call it."""
    world_size = get_world_size()
    if world_size == 1:
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values / world_size


@torch.no_grad()
def normalizers(centerness: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the divisors of the losses: number of positives and sum of centre-ness.

    They are means over processes, by one collective operation whatever the batch holds, so that no
    process waits in vain.

    Args:
        centerness: (P,), targets of this process's positives, possibly none.
    """
    count = centerness.new_tensor(len(centerness))
    averages = mean_over_processes(torch.stack([count, centerness.sum()]))
    # Without any positive the sums to be divided are 0: any positive divisor will do.
    return averages[0].clamp(min=1), averages[1].clamp(min=torch.finfo(averages.dtype).eps)
