"""AP by class, size and IoU threshold is pycocotools', by either evaluation."""

import numpy as np
import pytest
from coco_detections import NAMES, pycocotools_recall, pycocotools_scores

from dyhead.evaluation.measures.coco_scores import coco_scores


@pytest.mark.parametrize("fast", [False, True])
def test_scores_are_those_of_pycocotools(coco, fast):
    own, reference = coco_scores(*coco, fast=fast), pycocotools_scores(*coco)
    for metric in ("AP", "AP50", "AP75", "APs", "APm", "APl"):
        assert own.overall[metric] == pytest.approx(reference[metric], nan_ok=True), metric
    assert own.overall["AR"] == pytest.approx(pycocotools_recall(*coco))
    assert own.overall["AR"] == pytest.approx(np.nanmean([row["AR"] for row in own.by_class]))
    for row, name in zip(own.by_class, NAMES, strict=True):
        assert row["AP"] == pytest.approx(reference[f"AP-{name}"], nan_ok=True)
    assert own.ious[0] == 0.5 and own.ious[-1] == 0.95
    assert np.mean(own.by_iou["all"]) == pytest.approx(reference["AP"])
    assert own.by_iou["all"][5] == pytest.approx(reference["AP75"])
    assert own.class_by_iou[0][0] == pytest.approx(own.by_class[0]["AP50"])


def test_without_detections_all_is_zero(coco):
    assert coco_scores(coco[0], []).overall["AP"] == 0
