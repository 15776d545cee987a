"""From dense scores to final detections: selection of candidates, and suppression of duplicates.

Shape letters: R anchors of one level, K classes, D candidates or detections.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from dyhead.d2.layers import batched_nms
from dyhead.d2.structures import Boxes, Instances

EMPTY = -1.0  # the score of a candidate that is none


class Candidates(NamedTuple):
    """Decoded (anchor, class) pairs of one level and image; those of the score EMPTY are none."""

    boxes: Tensor  # (D, 4), XYXY in pixels
    scores: Tensor  # (D,)
    classes: Tensor  # (D,), indices
    anchors: Tensor  # (D,), indices among those of the level


def select_candidates(
    class_scores: Tensor,
    quality: Tensor | None,
    score_threshold: float,
    max_candidates: int,
    rank_by_quality: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the (anchor, class) pairs of one level and image that are worth decoding.

    The threshold looks at the class score alone. An anchor may be chosen for several classes. Which
    of equally ranked pairs are chosen is up to `torch.topk`.

    Args:
        class_scores: (R, K), probabilities.
        quality: (R,), how well the box of each anchor is placed, in [0, 1] (e.g. centre-ness);
            None for 1 everywhere.
        score_threshold: lowest class score, exclusive.
        max_candidates: highest number of pairs.
        rank_by_quality: the best pairs are those of the highest class score times quality; else
            those of the highest class score.

    Returns:
        Scores (class score times quality), anchor indices and class indices, each (D,), unsorted. A
        pair of the score EMPTY is none: it only fills the row up.
    """
    select = _select_from_all if wants_fixed_sizes(class_scores) else _select_from_passing
    return select(class_scores, quality, score_threshold, max_candidates, rank_by_quality)


def wants_fixed_sizes(scores: Tensor) -> bool:
    """Tell if sizes that depend on the values are to be avoided.

    Elsewhere than on a CPU the host has to wait for them, for every level and image, and a compiler
    cannot go on after them. A CPU waits for nothing, and its topk over all pairs takes several
    times as long as finding the few that pass.
    """
    return scores.device.type != "cpu" or torch.compiler.is_compiling()


def _select_from_passing(
    class_scores: Tensor,
    quality: Tensor | None,
    score_threshold: float,
    max_candidates: int,
    rank_by_quality: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Find what passes the threshold first, then the best of that."""
    anchors, classes = torch.nonzero(class_scores > score_threshold, as_tuple=True)
    class_score = class_scores[anchors, classes]
    scores = class_score if quality is None else class_score * quality[anchors]
    ranking = scores if rank_by_quality else class_score
    best = ranking.topk(min(max_candidates, len(ranking)), sorted=False).indices
    return scores[best], anchors[best], classes[best]


def _select_from_all(
    class_scores: Tensor,
    quality: Tensor | None,
    score_threshold: float,
    max_candidates: int,
    rank_by_quality: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Take the best of all pairs, as many as wanted or there are; what does not pass is EMPTY."""
    passing = class_scores > score_threshold
    scores = class_scores if quality is None else class_scores * quality[:, None]
    ranking = scores if rank_by_quality else class_scores
    # Lower than any probability, so that what passes comes first whatever the threshold.
    ranking = torch.where(passing, ranking, EMPTY).flatten()
    best = ranking.topk(min(max_candidates, len(ranking)), sorted=False).indices
    chosen_scores = torch.where(passing, scores, EMPTY).flatten()[best]
    num_classes = class_scores.shape[1]
    return chosen_scores, best // num_classes, best % num_classes


def detect(
    levels: list[Candidates],
    *,
    image_size: tuple[int, int],
    clip_before_nms: bool = False,
    iou_threshold: float,
    max_detections: int,
) -> Instances:
    """Choose the detections of one image from the candidates of its levels.

    Each says where it comes from: `pred_levels`, indices of levels, and `pred_anchors`, indices
    among the anchors of the level.

    Args:
        levels: of the image.
        image_size: see `suppress_duplicates`.
        clip_before_nms: boxes are cut off at the image's border first, and dropped if nothing is
            left of them.
        iou_threshold: see `suppress_duplicates`.
        max_detections: see `suppress_duplicates`.
    """
    boxes, scores, classes, anchors = (torch.cat(parts) for parts in zip(*levels, strict=True))
    of_level = [torch.full_like(level.anchors, index) for index, level in enumerate(levels)]
    wanted = scores != EMPTY
    if clip_before_nms:
        boxes, is_inside = clip_boxes(boxes, image_size)
        wanted = wanted & is_inside
    chosen = torch.nonzero(wanted).squeeze(1)  # the only wait for the device before NMS
    return suppress_duplicates(
        boxes[chosen],
        scores[chosen],
        classes[chosen],
        image_size=image_size,
        iou_threshold=iou_threshold,
        max_detections=max_detections,
        pred_levels=torch.cat(of_level)[chosen],
        pred_anchors=anchors[chosen],
    )


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
    **fields: Tensor,
) -> Instances:
    """Suppress all but the best of overlapping boxes of a class; boxes are left unclipped.

    Args:
        boxes: (D, 4), XYXY in pixels.
        scores: (D,).
        classes: (D,), indices.
        image_size: height and width in pixels, recorded in the result.
        iou_threshold: a box overlapping a better one of its class by more is dropped.
        max_detections: highest number of detections kept, the best ones; negative for all.
        fields: more to be said of each box, (D, ...) by name.

    Returns:
        Instances with `pred_boxes`, `scores`, `pred_classes` and the further fields, best first.
    """
    keep = batched_nms(boxes, scores, classes, iou_threshold)
    keep = keep[:max_detections] if max_detections >= 0 else keep
    return Instances(
        image_size,
        pred_boxes=Boxes(boxes[keep]),
        scores=scores[keep],
        pred_classes=classes[keep],
        **{name: values[keep] for name, values in fields.items()},
    )
