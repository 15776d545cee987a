"""AP and AR by class, size and IoU threshold, by COCO's own evaluation."""

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dyhead.evaluation.average_precision import METRICS, average_precision, no_detections
from dyhead.evaluation.fast_coco_eval import FastCOCOeval, is_installed


@dataclass(frozen=True)
class CocoScores:
    """COCO's scores from 0 to 100; NaN where nothing is annotated.

    Attributes:
        overall: AP, AP50, AP75, APs, APm, APl and AR (100 detections) of all classes.
        by_class: the same for each class, in the order of their ids.
        ious: the IoU thresholds 0.5, 0.55, ... 0.95.
        by_iou: AP at each of them, by size ("all", "small", "medium", "large").
        class_by_iou: AP at each of them, for each class.
    """

    overall: Mapping[str, float]
    by_class: Sequence[Mapping[str, float]]
    ious: Sequence[float]
    by_iou: Mapping[str, Sequence[float]]
    class_by_iou: Sequence[Sequence[float]]


def coco_scores(
    truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], fast: bool = True
) -> CocoScores:
    """Evaluate boxes.

    Args:
        truth: in COCO's form, with "area" and "iscrowd" of each annotation.
        results: in COCO's form.
        fast: by faster-coco-eval where it is installed; same scores.
    """
    evaluation = _evaluate(truth, results, fast)
    classes = range(len(evaluation.params.catIds))
    ious = [round(float(iou), 2) for iou in evaluation.params.iouThrs]
    return CocoScores(
        _row(evaluation, None),
        [_row(evaluation, index) for index in classes],
        ious,
        {
            size: [average_precision(evaluation, iou, size) for iou in ious]
            for size in evaluation.params.areaRngLbl
        },
        [[average_precision(evaluation, iou, category=i) for iou in ious] for i in classes],
    )


def _row(evaluation: COCOeval, category: int | None) -> dict[str, float]:
    scores = {
        metric: average_precision(evaluation, iou, area, category)
        for metric, (iou, area) in METRICS.items()
    }
    recall = evaluation.eval["recall"][..., 0, -1]  # IoU, category; all sizes, 100 detections
    recall = recall if category is None else recall[:, category]
    annotated = recall[recall > -1]
    return {**scores, "AR": float(100 * annotated.mean()) if annotated.size else math.nan}


def _evaluate(
    truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], fast: bool
) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        coco = COCO()
        coco.dataset = {"info": {}, **truth}
        coco.createIndex()
        found = coco.loadRes([dict(each) for each in results]) if results else no_detections(coco)
        evaluation = (FastCOCOeval if fast and is_installed() else COCOeval)(coco, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    for name in ("precision", "recall"):
        evaluation.eval[name] = np.asarray(evaluation.eval[name])
    return evaluation
