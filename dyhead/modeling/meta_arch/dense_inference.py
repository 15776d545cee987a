"""From dense scores to final detections: which anchors to decode, and which duplicates to drop.

Shape letters: R anchors of one level, K classes, D detections.
"""

import torch
from torch import Tensor

from dyhead.d2.layers import batched_nms
from dyhead.d2.structures import Boxes, Instances


def select_candidates(
    class_scores: Tensor, quality: Tensor, score_threshold: float, max_candidates: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the (anchor, class) pairs of one level and image that are worth decoding.

    The threshold looks at the class score alone, the ranking at class score times quality. An
    anchor may be chosen for several classes.

    Args:
        class_scores: (R, K), probabilities.
        quality: (R,), how well the box of each anchor is placed, in [0, 1] (e.g. centre-ness).
        score_threshold: lowest class score, exclusive.
        max_candidates: highest number of pairs.

    Returns:
        Scores (class score times quality), anchor indices and class indices, each (D,), unsorted.
    """
    anchors, classes = torch.nonzero(class_scores > score_threshold, as_tuple=True)
    scores = class_scores[anchors, classes] * quality[anchors]
    scores, best = scores.topk(min(max_candidates, len(scores)), sorted=False)
    return scores, anchors[best], classes[best]


def suppress_duplicates(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor,
    *,
    image_size: tuple[int, int],
    iou_threshold: float,
    max_detections: int,
) -> Instances:
    """Non-maximum suppression within each class; boxes are left unclipped.

    Args:
        boxes: (D, 4), XYXY in pixels.
        scores: (D,).
        classes: (D,), indices.
        image_size: height and width in pixels, recorded in the result.
        iou_threshold: a box overlapping a better one of its class by more is dropped.
        max_detections: highest number of detections kept, the best ones.

    Returns:
        Instances with `pred_boxes`, `scores` and `pred_classes`, best first.
    """
    keep = batched_nms(boxes, scores, classes, iou_threshold)[:max_detections]
    return Instances(
        image_size,
        pred_boxes=Boxes(boxes[keep]),
        scores=scores[keep],
        pred_classes=classes[keep],
    )
