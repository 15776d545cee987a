"""Choosing the proposals that go on to the second stage.

Shapes: N images, L levels, M_l anchors of level l; boxes are absolute x0, y0, x1, y1 in pixels.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...layers import batched_nms, cat
from ...structures import Boxes, Instances

# What an object's own box gets as score: as good as certain.
GROUND_TRUTH_PROBABILITY = 1.0 - 1e-10


def find_top_rpn_proposals(
    proposals: list[Tensor],
    pred_objectness_logits: list[Tensor],
    image_sizes: list[tuple[int, int]],
    nms_thresh: float,
    pre_nms_topk: int,
    post_nms_topk: int,
    min_box_size: float,
    training: bool,
) -> list[Instances]:
    """Choose the best proposals of each image.

    Args:
        proposals: L tensors (N, M_l, 4).
        pred_objectness_logits: L tensors (N, M_l).
        image_sizes: (height, width) of each image, which proposals are clipped to.
        nms_thresh: IoU with a better proposal of the same level above which one goes.
        pre_nms_topk: how many to keep per level before NMS.
        post_nms_topk: how many to keep of all levels after NMS.
        min_box_size: both sides in pixels have to be longer than this.
        training: whether infinite or NaN values raise an error; otherwise they are dropped.

    Returns:
        For each image "proposal_boxes" and "objectness_logits", best first.

    Raises:
        FloatingPointError: in training, a proposal is infinite or NaN.
    """
    best = [
        best_of_level(boxes, logits, pre_nms_topk)
        for boxes, logits in zip(proposals, pred_objectness_logits, strict=True)
    ]
    boxes, logits = cat([level[0] for level in best], 1), cat([level[1] for level in best], 1)
    counts = torch.tensor([level[1].shape[1] for level in best], device=logits.device)
    levels = torch.arange(len(best), device=logits.device).repeat_interleave(counts)
    results = []
    for index, image_size in enumerate(image_sizes):
        found = Instances(image_size, proposal_boxes=Boxes(boxes[index]))
        found.objectness_logits, found.level = logits[index], levels
        found = clip_and_filter(drop_non_finite(found, training), min_box_size)
        results.append(suppress(found, nms_thresh, post_nms_topk))
    return results


def best_of_level(boxes: Tensor, logits: Tensor, topk: int) -> tuple[Tensor, Tensor]:
    """(N, K, 4) boxes and (N, K) logits of the K = min(M, topk) best of one level, best first."""
    best, indices = logits.topk(min(logits.shape[1], topk), dim=1)
    return boxes.gather(1, indices[..., None].expand(-1, -1, boxes.shape[2])), best


def drop_non_finite(found: Instances, training: bool) -> Instances:
    """Drop proposals with infinite or NaN numbers; in training that is an error."""
    finite = found.proposal_boxes.tensor.isfinite().all(dim=1) & found.objectness_logits.isfinite()
    if finite.all():
        return found
    if training:
        raise FloatingPointError(
            "Training has diverged: the RPN predicts infinite or NaN boxes or scores. Lower the"
            " learning rate or clip gradients."
        )
    return found[finite]


def clip_and_filter(found: Instances, min_box_size: float) -> Instances:
    """Clip to the image, then drop boxes with a side not longer than `min_box_size` pixels."""
    found.proposal_boxes.clip(found.image_size)
    return found[found.proposal_boxes.nonempty(threshold=min_box_size)]


def suppress(found: Instances, nms_thresh: float, topk: int) -> Instances:
    """The `topk` best after NMS within each level."""
    boxes, logits = found.proposal_boxes, found.objectness_logits
    keep = batched_nms(boxes.tensor, logits, found.level, nms_thresh)[:topk]
    return Instances(found.image_size, proposal_boxes=boxes[keep], objectness_logits=logits[keep])


def add_ground_truth_to_proposals(
    gt: Sequence[Instances | Boxes], proposals: list[Instances]
) -> list[Instances]:
    """Append the objects' own boxes to the proposals of each image, as near certain ones.

    Args:
        gt: objects of each image, with "gt_boxes", or their boxes alone.
        proposals: proposals of each image; the fields of the result are theirs.

    Raises:
        ValueError: the lists differ in length.
        AssertionError: the proposals have a field that the objects lack.
    """
    if len(gt) != len(proposals):
        raise ValueError(f"Got objects of {len(gt)} images and proposals of {len(proposals)}.")
    return [add_to_image(*pair) for pair in zip(gt, proposals, strict=True)]


def add_to_image(gt: Instances | Boxes, proposals: Instances) -> Instances:
    """`add_ground_truth_to_proposals` for one image."""
    fields = {"gt_boxes": gt} if isinstance(gt, Boxes) else gt.get_fields()
    boxes = fields["gt_boxes"]
    logit = math.log(GROUND_TRUTH_PROBABILITY / (1.0 - GROUND_TRUTH_PROBABILITY))
    logits = torch.full((len(boxes),), logit, device=proposals.objectness_logits.device)
    added = fields | {"proposal_boxes": boxes, "objectness_logits": logits}
    lacking = [name for name in proposals.get_fields() if name not in added]
    if lacking:
        raise AssertionError(f"Proposals have fields {lacking} that the ground truth lacks.")
    return Instances.cat([proposals, Instances(proposals.image_size, **added)])
