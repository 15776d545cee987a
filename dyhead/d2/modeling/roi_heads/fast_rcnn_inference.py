"""From the scores and boxes of regions to detections.

Shapes: R regions of an image, K classes; boxes are absolute x0, y0, x1, y1 in pixels.
"""

from collections.abc import Sequence

from torch import Tensor

from ...layers import batched_nms
from ...structures import Boxes, Instances


def fast_rcnn_inference(
    boxes: Sequence[Tensor],
    scores: Sequence[Tensor],
    image_shapes: Sequence[tuple[int, int]],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
) -> tuple[list[Instances], list[Tensor]]:
    """Choose the detections of each image.

    Args:
        boxes: (R, K * 4) for each image, or (R, 4) boxes that all classes share.
        scores: (R, K + 1) for each image; the last one is the background's.
        image_shapes: (height, width) of each image, which boxes are clipped to.
        score_thresh: scores have to be above this.
        nms_thresh: IoU with a better box of the same class above which a box goes.
        topk_per_image: how many detections to keep; a negative number keeps all.

    Returns:
        For each image "pred_boxes", "scores" and "pred_classes", best first, and the index of the
        region that each detection comes from (among those with finite boxes and scores).
    """
    results = [
        detections_of_image(*image, score_thresh, nms_thresh, topk_per_image)
        for image in zip(boxes, scores, image_shapes, strict=True)
    ]
    return [instances for instances, _ in results], [regions for _, regions in results]


def detections_of_image(
    boxes: Tensor,
    scores: Tensor,
    image_shape: tuple[int, int],
    score_thresh: float,
    nms_thresh: float,
    topk: int,
) -> tuple[Instances, Tensor]:
    """`fast_rcnn_inference` for one image."""
    finite = boxes.isfinite().all(dim=1) & scores.isfinite().all(dim=1)
    boxes, scores = boxes[finite], scores[finite, :-1]
    regions, classes = (scores > score_thresh).nonzero(as_tuple=True)
    by_class = boxes.unflatten(1, (-1, 4))
    shared = by_class.shape[1] == 1
    candidates = Boxes(by_class[regions, 0 if shared else classes])
    candidates.clip(image_shape)
    scores = scores[regions, classes]
    keep = batched_nms(candidates.tensor, scores, classes, nms_thresh)
    keep = keep[:topk] if topk >= 0 else keep
    detections = Instances(
        image_shape,
        pred_boxes=candidates[keep],
        scores=scores[keep],
        pred_classes=classes[keep],
    )
    return detections, regions[keep]
