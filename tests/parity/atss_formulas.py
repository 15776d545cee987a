"""The formulas of the ATSS double: boxes from deltas, assignment, losses; one anchor at a time."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou


def decode(anchors: Tensor, deltas: Tensor) -> Tensor:
    """Boxes from (dx, dy, dw, dh), weighted (10, 10, 5, 5)."""
    sizes = anchors[:, 2:] - anchors[:, :2]
    centres = anchors[:, :2] + sizes / 2 + deltas[:, :2] / 10 * sizes
    sizes = sizes * (deltas[:, 2:] / 5).clamp(max=math.log(1000 / 16)).exp()
    return torch.cat((centres - sizes / 2, centres + sizes / 2), dim=1)


def clip(boxes: Tensor, height: int, width: int) -> Tensor:
    return torch.stack(
        [boxes[:, i].clamp(0, width if i % 2 == 0 else height) for i in range(4)], dim=1
    )


def assign(anchors: list[Tensor], boxes: Tensor) -> dict[int, int]:
    """Assign objects to anchors by ATSS: {positive anchor: object}."""
    best: dict[int, tuple[float, int]] = {}
    for owner, box in enumerate(boxes):
        candidates, start = [], 0
        centre = (box[:2] + box[2:]) / 2
        for level in anchors:
            distances = ((level[:, :2] + level[:, 2:]) / 2 - centre).norm(dim=1)
            nearest = distances.topk(min(9, len(level)), largest=False).indices
            candidates += (nearest + start).tolist()
            start += len(level)
        of_candidates = torch.cat(anchors)[candidates]
        ious = box_iou(of_candidates, box[None])[:, 0]
        threshold = ious.mean() + ious.std()
        for anchor, corners, iou in zip(candidates, of_candidates, ious, strict=True):
            x, y = (corners[:2] + corners[2:]) / 2
            margin = min(x - box[0], y - box[1], box[2] - x, box[3] - y)
            better = anchor not in best or iou > best[anchor][0]
            if iou >= threshold and margin > 0.01 and better:
                best[anchor] = (float(iou), owner)
    return {anchor: owner for anchor, (_, owner) in best.items()}


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    p = logits.sigmoid()
    positive = -0.25 * (1 - p) ** 2 * F.logsigmoid(logits)
    negative = -0.75 * p**2 * F.logsigmoid(-logits)
    return (target * positive + (1 - target) * negative).sum()


def centerness(anchor: Tensor, box: Tensor) -> Tensor:
    x, y = (anchor[:2] + anchor[2:]) / 2
    left, top, right, bottom = x - box[0], y - box[1], box[2] - x, box[3] - y
    product = (torch.min(left, right) / torch.max(left, right)) * (
        torch.min(top, bottom) / torch.max(top, bottom)
    )
    return product.sqrt()


def generalised_iou(one: Tensor, other: Tensor) -> Tensor:
    low, high = torch.max(one[:2], other[:2]), torch.min(one[2:], other[2:])
    common = (high - low).clamp(min=0).prod()
    union = (one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - common
    hull = (torch.max(one[2:], other[2:]) - torch.min(one[:2], other[:2])).prod()
    return common / union - (hull - union) / hull
