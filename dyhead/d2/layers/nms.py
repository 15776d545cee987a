"""Non-maximum suppression."""

import torchvision
from torch import Tensor
from torchvision.ops import nms

__all__ = ["batched_nms", "nms"]


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Suppress overlapping boxes within each group, never across groups.

    Args:
        boxes: (N, 4) in absolute x0, y0, x1, y1 and any floating type.
        scores: (N,).
        idxs: (N,) group of each box, usually its class.
        iou_threshold: a box goes if its IoU with a better box of its group is above this.

    Returns:
        Indices of the kept boxes, best score first.
    """
    # The groups are told apart by adding large offsets, for which half precision has no room.
    return torchvision.ops.batched_nms(boxes.float(), scores, idxs, iou_threshold)
