"""Reads COCO's average precision out of pycocotools' arrays; used by either host."""

import math

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

# metric -> (IoU threshold or None for the mean over 0.50:0.95, range of areas)
METRICS: dict[str, tuple[float | None, str]] = {
    "AP": (None, "all"),
    "AP50": (0.5, "all"),
    "AP75": (0.75, "all"),
    "APs": (None, "small"),
    "APm": (None, "medium"),
    "APl": (None, "large"),
}


def average_precision(
    coco_eval: COCOeval,
    iou: float | None = None,
    area: str = "all",
    category: int | None = None,
) -> float:
    """AP from 0 to 100, with the most detections per image; NaN where nothing is annotated.

    Args:
        coco_eval: accumulated; its "precision" is (IoU, recall, category, area, max. detections).
        iou: one IoU threshold; None averages over all.
        area: label of a range of areas.
        category: index of one category; None averages over all.
    """
    precision = coco_eval.eval["precision"][..., coco_eval.params.areaRngLbl.index(area), -1]
    if category is not None:  # first: the selection below copies, and classes may be thousands
        precision = precision[:, :, category]
    if iou is not None:
        precision = precision[np.isclose(coco_eval.params.iouThrs, iou)]
    annotated = precision[precision > -1]
    return float(annotated.mean() * 100) if annotated.size else math.nan


def no_detections(coco_api: COCO) -> COCO:
    """Return an empty result for a data set; pycocotools' `loadRes` takes no empty list."""
    detections = COCO()
    detections.dataset = {**coco_api.dataset, "annotations": []}
    detections.createIndex()
    return detections
