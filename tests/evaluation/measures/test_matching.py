"""Detections and objects are matched as pycocotools matches them."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dyhead.evaluation.measures.matching import match_all, outcomes


def evaluated_images(truth, results):
    """Return pycocotools' own matches for all sizes, by image and class."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
    everything = list(evaluation.params.areaRng[0])
    return [e for e in evaluation.evalImgs if e is not None and e["aRng"] == everything]


@pytest.mark.parametrize(("threshold", "row"), [(0.5, 0), (0.75, 5)])
def test_what_is_true_and_what_is_ignored_is_as_in_pycocotools(coco, evaluated, threshold, row):
    categories = sorted(category["id"] for category in coco[0]["categories"])
    matched = dict(
        zip([p.image_id for p in evaluated.pictures], match_all(evaluated, threshold), strict=True)
    )
    pictures = {picture.image_id: picture for picture in evaluated.pictures}
    seen = 0
    for reference in evaluated_images(*coco):
        picture, own = pictures[reference["image_id"]], matched[reference["image_id"]]
        of_class = picture.classes == categories.index(reference["category_id"])
        ignored = reference["dtIgnore"][row].astype(bool)
        is_true = (reference["dtMatches"][row] > 0) & ~ignored
        np.testing.assert_allclose(picture.scores[of_class], reference["dtScores"])
        assert own.is_true[of_class].tolist() == is_true.tolist()
        assert own.is_ignored[of_class].tolist() == ignored.tolist()
        seen += of_class.sum()
    assert seen == sum(len(picture.scores) for picture in evaluated.pictures) > 100


def test_every_true_detection_has_an_object_of_its_own(evaluated):
    for picture, found in zip(evaluated.pictures, match_all(evaluated), strict=True):
        taken = found.object_of[found.is_true]
        assert len(set(taken.tolist())) == len(taken) == found.is_found.sum()
        assert not picture.is_crowd[taken].any()


def test_outcomes_count_objects_without_crowds_and_leave_ignored_detections_out(coco, evaluated):
    matches = match_all(evaluated)
    found = outcomes(evaluated, matches)
    assert found.num_objects.sum() == sum(not a["iscrowd"] for a in coco[0]["annotations"])
    ignored = sum(each.is_ignored.sum() for each in matches)
    assert ignored > 0
    assert len(found.scores) == sum(len(p.scores) for p in evaluated.pictures) - ignored
