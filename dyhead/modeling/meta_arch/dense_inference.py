"""From dense scores to final detections: which anchors to decode, and which duplicates to drop.

Shape letters: R anchors of one level, K classes, D detections.
"""

import torch
from torch import Tensor

from dyhead.d2.layers import batched_nms
from dyhead.d2.structures import Boxes, Instances


def select_candidates(
    class_scores: Tensor,
    quality: Tensor | None,
    score_threshold: float,
    max_candidates: int,
    rank_by_quality: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the (anchor, class) pairs of one level and image that are worth decoding.

    The threshold looks at the class score alone. An anchor may be chosen for several classes.

    Args:
        class_scores: (R, K), probabilities.
        quality: (R,), how well the box of each anchor is placed, in [0, 1] (e.g. centre-ness);
            None for 1 everywhere.
        score_threshold: lowest class score, exclusive.
        max_candidates: highest number of pairs.
        rank_by_quality: the best pairs are those of the highest class score times quality; else
            those of the highest class score.

    Returns:
        Scores (class score times quality), anchor indices and class indices, each (D,), unsorted.
    """
    anchors, classes = torch.nonzero(class_scores > score_threshold, as_tuple=True)
    class_score = class_scores[anchors, classes]
    scores = class_score if quality is None else class_score * quality[anchors]
    ranking = scores if rank_by_quality else class_score
    best = ranking.topk(min(max_candidates, len(ranking)), sorted=False).indices
    return scores[best], anchors[best], classes[best]


def clip_boxes(boxes: Tensor, image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Cut boxes (D, 4) off at the image's border.

    Returns:
        The clipped boxes (D, 4), and whether anything is left of each, (D,).
    """
    clipped = Boxes(boxes.clone())
    clipped.clip(image_size)
    return clipped.tensor, clipped.nonempty()


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
        max_detections: highest number of detections kept, the best ones; negative for all.

    Returns:
        Instances with `pred_boxes`, `scores` and `pred_classes`, best first.
    """
    keep = batched_nms(boxes, scores, classes, iou_threshold)
    keep = keep[:max_detections] if max_detections >= 0 else keep
    return Instances(
        image_size,
        pred_boxes=Boxes(boxes[keep]),
        scores=scores[keep],
        pred_classes=classes[keep],
    )
