"""Non-maximum suppression of a batch as one operator of fixed size, for exported detectors.

What suppression keeps has a size that depends on values, which an exported graph would have to
carry on. Here it is a mask instead.
"""

import torch
from torch import Tensor


@torch.library.custom_op(
    "dyhead::non_max_suppression",
    mutates_args=(),
    schema="(Tensor boxes, Tensor scores, Tensor classes, int num_classes, float iou_threshold)"
    " -> Tensor",
)
def non_max_suppression(
    boxes: Tensor, scores: Tensor, classes: Tensor, num_classes: int, iou_threshold: float
) -> Tensor:
    """Find which boxes no better one of their class and picture overlaps too much.

    Args:
        boxes: (N, D, 4), XYXY.
        scores: (N, D); boxes with negative ones are no candidates: they neither stay nor suppress.
        classes: (N, D), int64, below `num_classes`.
        num_classes: a number that ONNX needs to know.
        iou_threshold: a box overlapping a better one of its class by more is dropped.

    Returns:
        (N, D), bool: what stays.
    """
    from torchvision.ops import batched_nms  # takes a second to import

    kept = torch.zeros_like(scores, dtype=torch.bool)
    for index in range(len(boxes)):
        candidates = torch.nonzero(scores[index] >= 0).squeeze(1)
        chosen = batched_nms(
            boxes[index, candidates],
            scores[index, candidates],
            classes[index, candidates],
            iou_threshold,
        )
        kept[index, candidates[chosen]] = True
    return kept


@non_max_suppression.register_fake
def _(
    boxes: Tensor, scores: Tensor, classes: Tensor, num_classes: int, iou_threshold: float
) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)
